/** One interrupt message: struct kvm_lapic_irq. `deliveryMode` and `shorthand` as in the ICR. */
export interface ApicMessage {
  readonly vector: number;
  readonly deliveryMode: number;
  readonly logical: boolean;
  readonly level: boolean;
  readonly levelTriggered: boolean;
  readonly shorthand: number;
  readonly destination: number;
}
