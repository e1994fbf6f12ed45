import { CPU_BASED, EXIT_REASON, PIN_BASED, SECONDARY_EXEC, VM_EXIT, mem, reg } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { CODE, Guest, HANDLERS } from "./guest.js";

const { rax, rbx } = reg;
describe("interrupts of the host", () => {
  const spin = (): Guest =>
    new Guest().code(64, (a) => {
      a.label("again");
      a.jmp("again");
    });

  it("exit with the vector where the exit acknowledges it", () => {
    const guest = spin();
    guest.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.EXT_INTR_EXITING);
    guest.set("VM_EXIT_CONTROLS", VM_EXIT.ACK_INTR_ON_EXIT);
    guest.cpu.raiseInterrupt(0x40);
    guest.cpu.raiseInterrupt(0xfd);
    expect(guest.run()).toBe(EXIT_REASON.EXTERNAL_INTERRUPT);
    expect(guest.read("VM_EXIT_INTR_INFO")).toBe(0x800000fdn);
    expect(guest.cpu.acknowledgeInterrupt()).toBe(0x40);
    expect(guest.cpu.acknowledgeInterrupt()).toBe(-1);
  });

  it("stay pending without acknowledgement", () => {
    const guest = spin();
    guest.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.EXT_INTR_EXITING);
    guest.cpu.raiseInterrupt(0x40);
    expect(guest.run()).toBe(EXIT_REASON.EXTERNAL_INTERRUPT);
    expect(guest.read("VM_EXIT_INTR_INFO")).toBe(0n);
    expect(guest.cpu.interruptPending).toBe(true);
  });

  it("come from the local timer to the instruction", () => {
    const guest = spin();
    guest.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.EXT_INTR_EXITING);
    guest.set("VM_EXIT_CONTROLS", VM_EXIT.ACK_INTR_ON_EXIT);
    guest.cpu.setTimer(guest.cpu.tsc() + 12_345);
    const start = guest.cpu.tsc();
    expect(guest.run()).toBe(EXIT_REASON.EXTERNAL_INTERRUPT);
    expect(guest.read("VM_EXIT_INTR_INFO")).toBe(0x800000efn);
    expect(guest.cpu.tsc() - start).toBe(12_345);
  });

  it("exit for an NMI with NMI exiting", () => {
    const guest = spin();
    guest.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.NMI_EXITING);
    guest.cpu.raiseNmi();
    expect(guest.run()).toBe(EXIT_REASON.EXCEPTION_NMI);
    expect(guest.read("VM_EXIT_INTR_INFO")).toBe(0x80000202n);
  });

  it("reach the guest where nothing exits, once it lets them", () => {
    const guest = new Guest().code(64, (a) => {
      a.nop();
      a.sti();
      a.nop();
      a.label("again");
      a.jmp("again");
    });
    guest.cpu.raiseInterrupt(0x40);
    expect(guest.run()).toBe(EXIT_REASON.HLT);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(HANDLERS + 0x40));
    // The interrupt came after the instruction that follows STI.
    const returned = guest.host.memory.readU64(guest.at(Number(guest.read("GUEST_RSP"))));
    expect(returned).toBe(BigInt(CODE + 3));
  });
});

describe("windows and timers", () => {
  it("interrupt window: exits before the first instruction that could be interrupted", () => {
    const guest = new Guest().code(64, (a) => {
      a.nop();
      a.sti();
      a.nop();
      a.hlt();
    });
    guest.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.INTERRUPT_WINDOW_EXITING);
    expect(guest.run()).toBe(EXIT_REASON.INTERRUPT_WINDOW);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(CODE + 3));
  });

  it("interrupt window: POPF opens it too", () => {
    const guest = new Guest().code(64, (a) => {
      a.push(0x202);
      a.popfq();
      a.hlt();
    });
    guest.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.INTERRUPT_WINDOW_EXITING);
    expect(guest.run()).toBe(EXIT_REASON.INTERRUPT_WINDOW);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(CODE + 6));
  });

  it("NMI window: exits once IRET has ended the blocking", () => {
    const guest = new Guest().code(64, (a) => {
      a.mov(rax, reg.rsp);
      a.push(0x10);
      a.push(rax);
      a.push(2);
      a.push(8);
      a.lea(rbx, mem("after"));
      a.push(rbx);
      a.iretq();
      a.label("after");
      a.hlt();
    });
    guest.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.NMI_EXITING | PIN_BASED.VIRTUAL_NMIS);
    guest.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.NMI_WINDOW_EXITING);
    guest.write("GUEST_INTERRUPTIBILITY_INFO", 8);
    expect(guest.run()).toBe(EXIT_REASON.NMI_WINDOW);
    expect(guest.read("GUEST_INTERRUPTIBILITY_INFO")).toBe(0n);
  });

  it("preemption timer: exits to the instruction, and saves what is left when something else comes first", () => {
    const guest = new Guest().code(64, (a) => {
      for (let i = 0; i < 50; i++) a.nop();
      a.cpuid();
      a.label("again");
      a.jmp("again");
    });
    guest.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.VMX_PREEMPTION_TIMER);
    guest.set("VM_EXIT_CONTROLS", VM_EXIT.SAVE_VMX_PREEMPTION_TIMER);
    guest.write("VMX_PREEMPTION_TIMER_VALUE", 30);
    expect(guest.run()).toBe(EXIT_REASON.PREEMPTION_TIMER);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(CODE + 30));
    expect(guest.read("VMX_PREEMPTION_TIMER_VALUE")).toBe(0n);
    guest.write("VMX_PREEMPTION_TIMER_VALUE", 1000);
    expect(guest.run()).toBe(EXIT_REASON.CPUID);
    expect(guest.read("VMX_PREEMPTION_TIMER_VALUE")).toBe(980n);
  });

  it("preemption timer: 0 exits before the first instruction", () => {
    const guest = new Guest().code(64, (a) => a.hlt());
    guest.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.VMX_PREEMPTION_TIMER);
    expect(guest.run()).toBe(EXIT_REASON.PREEMPTION_TIMER);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(CODE));
  });

  it("monitor trap flag: exits after each instruction", () => {
    const guest = new Guest().code(64, (a) => {
      a.nop();
      a.nop();
      a.hlt();
    });
    guest.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.MONITOR_TRAP_FLAG);
    expect(guest.run()).toBe(EXIT_REASON.MONITOR_TRAP_FLAG);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(CODE + 1));
    expect(guest.run()).toBe(EXIT_REASON.MONITOR_TRAP_FLAG);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(CODE + 2));
  });

  it("PAUSE-loop: exits once a loop has spun longer than the window", () => {
    const guest = new Guest().code(64, (a) => {
      a.label("again");
      a.pause();
      a.jmp("again");
    });
    guest.set("SECONDARY_VM_EXEC_CONTROL", SECONDARY_EXEC.PAUSE_LOOP_EXITING);
    guest.write("PLE_GAP", 128);
    guest.write("PLE_WINDOW", 4096);
    const start = guest.cpu.tsc();
    expect(guest.run()).toBe(EXIT_REASON.PAUSE_INSTRUCTION);
    expect(guest.cpu.tsc() - start).toBeGreaterThan(4096);
  });
});
