/**
 * An instruction of root mode met a #GP: in Linux the fixup of rdmsr_safe() sees it, elsewhere it is an oops. Told apart
 * by its name, as hypervisors do not import this package.
 */
export class HostGeneralProtection extends Error {
  constructor(what: string) {
    super(`#GP(0) in root mode: ${what}`);
    this.name = "HostGeneralProtection";
  }
}

/** An instruction of root mode met a #UD. */
export class HostUndefinedOpcode extends Error {
  constructor(what: string) {
    super(`#UD in root mode: ${what}`);
    this.name = "HostUndefinedOpcode";
  }
}
