/*
 * Executes instructions natively and writes down what they did.
 *
 * usage: recorder PROGRAM RESULT
 *
 * PROGRAM holds cases (see program.ts): code, general registers, flags, x87 and SSE state as FXSAVE stores it, and a
 * window of memory. Each case is entered by returning from a signal handler with the state of the case in its frame. It
 * reaches the data pages and the page of code, which it cannot write (layout.ts says the same to all other executors);
 * this program itself lies where a case's addresses do not lead.
 *
 * A case that is stepped is entered with TF set, so that the processor itself stops after one instruction and the kernel
 * reports all state, whatever the instruction did to it. A repeated string instruction traps after each repetition with
 * RIP unchanged, and is then resumed. Any other case is a sequence that runs into the INT3 behind it. A fault arrives as
 * a signal just the same, with its vector.
 *
 * Built twice: -m64 for 64-bit code, -m32 for 32-bit and (through a code segment in the LDT) 16-bit code.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define CODE 0x20000000u
#define CODE_BYTES 0x1000u
#define CODE_OFFSET 0x100u
#define DATA_START 0x1000u
#define DATA_END 0x4000u
#define WINDOW 0x2000u
#define WINDOW_BYTES 1024u
#define TF 0x100u
#define FLAGS_KEPT 0xcd5u
#define OK_VECTOR 255
#define TRAP_DEBUG 1
#define TRAP_BREAKPOINT 3
#define LONGEST_CODE 1024
#define INT3 0xcc
/* Where the FXSAVE image has what. */
#define FX_BYTES 416
#define FX_FTW 4
#define FX_ST0 32
/* The header of the XSAVE area behind the image. */
#define XSTATE_BV 512
#define XSTATE_X87_SSE 3
/* A 32-bit frame has the state as FSAVE stores it before the FXSAVE image, and the x87 state is loaded from there. */
#define FSAVE_BYTES 112

struct header {
    char magic[8];
    uint32_t bitness;
    uint32_t count;
    uint32_t stepped;
    /* Bytes of code in each case. */
    uint32_t code_bytes;
};

struct test_case {
    uint32_t length;
    uint32_t flags;
    uint64_t gpr[16];
    uint8_t fx[FX_BYTES];
    uint8_t memory[WINDOW_BYTES];
    uint8_t code[];
};

#ifdef __x86_64__
static const int GREGS[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                            REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
#define REG_IP REG_RIP
#define GPR_COUNT 16
#else
static const int GREGS[] = {REG_EAX, REG_ECX, REG_EDX, REG_EBX, REG_ESP, REG_EBP, REG_ESI, REG_EDI};
#define REG_IP REG_EIP
#define GPR_COUNT 8
#endif

static const struct header *header;
static const uint8_t *cases;
static size_t case_bytes;
static uint32_t next_case;
static ucontext_t original;
static uint8_t *out, *out_end;
static uint8_t expected[DATA_END - DATA_START];
static uintptr_t start_ip;
static unsigned code_selector;

static void put(const void *data, size_t bytes) {
    if (bytes > (size_t)(out_end - out)) _exit(3);
    memcpy(out, data, bytes);
    out += bytes;
}

static uint8_t *fx_of(const ucontext_t *context) {
#ifdef __x86_64__
    return (uint8_t *)context->uc_mcontext.fpregs;
#else
    return (uint8_t *)context->uc_mcontext.fpregs + FSAVE_BYTES;
#endif
}

/* The FXSAVE image begins with the words that FSAVE has too. */
static void load_fx(ucontext_t *context, const uint8_t *image) {
    uint8_t *fx = fx_of(context);
    uint64_t used;
    memcpy(fx, image, FX_BYTES);
    memcpy(&used, fx + XSTATE_BV, sizeof used);
    used |= XSTATE_X87_SSE;
    memcpy(fx + XSTATE_BV, &used, sizeof used);
#ifndef __x86_64__
    uint32_t *fsave = (uint32_t *)(void *)context->uc_mcontext.fpregs;
    uint16_t control, status;
    memcpy(&control, image, 2);
    memcpy(&status, image + 2, 2);
    uint32_t tags = 0;
    for (int i = 0; i < 8; i++)
        if (!(image[FX_FTW] >> i & 1)) tags |= 3u << 2 * i;
    fsave[0] = 0xffff0000u | control;
    fsave[1] = 0xffff0000u | status;
    fsave[2] = 0xffff0000u | tags;
    for (int i = 0; i < 8; i++) memcpy((uint8_t *)&fsave[7] + 10 * i, image + FX_ST0 + 16 * i, 10);
#endif
}

static void protect_code(int protection) {
    if (mprotect((void *)(uintptr_t)CODE, CODE_BYTES, protection)) _exit(4);
}

static void load(ucontext_t *context) {
    const struct test_case *c = (const struct test_case *)(const void *)(cases + next_case * case_bytes);
    uint8_t *code = (uint8_t *)(uintptr_t)CODE;
    protect_code(PROT_READ | PROT_WRITE);
    /* INT3 behind the code: it ends a sequence, and a trap flag that was lost is caught at once. */
    memset(code + CODE_OFFSET, INT3, header->code_bytes);
    memcpy(code + CODE_OFFSET, c->code, c->length);
    protect_code(PROT_READ | PROT_EXEC);
    load_fx(context, c->fx);
    memset(expected, 0, sizeof expected);
    memcpy(expected + WINDOW - DATA_START, c->memory, WINDOW_BYTES);
    memcpy((void *)(uintptr_t)DATA_START, expected, sizeof expected);
    for (int i = 0; i < GPR_COUNT; i++) context->uc_mcontext.gregs[GREGS[i]] = (greg_t)c->gpr[i];
    context->uc_mcontext.gregs[REG_IP] = (greg_t)start_ip;
    context->uc_mcontext.gregs[REG_EFL] = (greg_t)(c->flags | 0x202 | (header->stepped ? TF : 0));
#ifndef __x86_64__
    if (code_selector) context->uc_mcontext.gregs[REG_CS] = (greg_t)code_selector;
    context->uc_mcontext.gregs[REG_DS] = context->uc_mcontext.gregs[REG_SS];
    context->uc_mcontext.gregs[REG_ES] = context->uc_mcontext.gregs[REG_SS];
    context->uc_mcontext.gregs[REG_UESP] = (greg_t)c->gpr[4];
#endif
}

static void record(const ucontext_t *context, unsigned vector) {
    const uint8_t *data = (const uint8_t *)(uintptr_t)DATA_START;
    uint8_t v = (uint8_t)vector;
    uint32_t flags = (uint32_t)context->uc_mcontext.gregs[REG_EFL] & FLAGS_KEPT;
    uint64_t ip = (uintptr_t)context->uc_mcontext.gregs[REG_IP];
    put(&v, 1);
    put(&flags, 4);
    put(&ip, 8);
    for (int i = 0; i < GPR_COUNT; i++) {
        uint64_t value = (uintptr_t)context->uc_mcontext.gregs[GREGS[i]];
#ifndef __x86_64__
        if (i == 4) value = (uintptr_t)context->uc_mcontext.gregs[REG_UESP];
#endif
        put(&value, 8);
    }
    put(fx_of(context), FX_BYTES);
    uint16_t changed = 0;
    uint8_t *count_at = out;
    put(&changed, 2);
    for (uint16_t i = 0; i < sizeof expected; i++) {
        if (data[i] == expected[i]) continue;
        put(&i, 2);
        put(&data[i], 1);
        changed++;
    }
    memcpy(count_at, &changed, 2);
}

static void on_signal(int number, siginfo_t *info, void *raw) {
    ucontext_t *context = raw;
    (void)number;
    (void)info;
    if (start_ip == 0) {
        original = *context;
        start_ip = code_selector ? CODE_OFFSET : CODE + CODE_OFFSET;
        load(context);
        return;
    }
    unsigned vector = (unsigned)context->uc_mcontext.gregs[REG_TRAPNO];
    if (vector == TRAP_DEBUG) {
        if ((uintptr_t)context->uc_mcontext.gregs[REG_IP] == start_ip) return;
        vector = OK_VECTOR;
    } else if (vector == TRAP_BREAKPOINT && !header->stepped) {
        context->uc_mcontext.gregs[REG_IP]--;
        vector = OK_VECTOR;
    }
    record(context, vector);
    if (++next_case < header->count) {
        load(context);
        return;
    }
    static const uint8_t initial[FX_BYTES] = {0x7f, 0x03, [24] = 0x80, 0x1f};
    load_fx(context, initial);
    memcpy(context->uc_mcontext.gregs, original.uc_mcontext.gregs, sizeof(gregset_t));
}

static void map(uintptr_t at, size_t bytes, int protection) {
    void *got = mmap((void *)at, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (got != (void *)at) {
        perror("mmap");
        exit(1);
    }
}

static void cpu_name(char *text) {
    uint32_t r[4];
    memset(text, 0, 64);
    __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(0), "c"(0));
    memcpy(text, &r[1], 4);
    memcpy(text + 4, &r[3], 4);
    memcpy(text + 8, &r[2], 4);
    __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(1), "c"(0));
    unsigned family = (r[0] >> 8 & 15) + (r[0] >> 20 & 255), model = (r[0] >> 4 & 15) | (r[0] >> 12 & 0xf0);
    snprintf(text + 12, 52, " family %u model %u stepping %u", family, model, r[0] & 15);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s PROGRAM RESULT\n", argv[0]);
        return 2;
    }
    int in = open(argv[1], O_RDONLY);
    struct stat st;
    if (in < 0 || fstat(in, &st)) {
        perror(argv[1]);
        return 1;
    }
    const uint8_t *program = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, in, 0);
    if (program == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    header = (const struct header *)program;
    cases = program + sizeof *header;
    case_bytes = sizeof(struct test_case) + header->code_bytes;
    if (memcmp(header->magic, "TVCASES2", 8) || header->code_bytes > LONGEST_CODE ||
        sizeof *header + header->count * case_bytes != (size_t)st.st_size) {
        fprintf(stderr, "%s: not a program of this recorder\n", argv[1]);
        return 1;
    }
    map(CODE, CODE_BYTES, PROT_READ | PROT_WRITE);
    map(DATA_START, DATA_END - DATA_START, PROT_READ | PROT_WRITE);
    memset((void *)(uintptr_t)CODE, INT3, CODE_BYTES);
    if (header->bitness == 16) {
        struct user_desc code = {.entry_number = 0, .base_addr = CODE, .limit = 0xffff, .contents = MODIFY_LDT_CONTENTS_CODE};
        if (syscall(SYS_modify_ldt, 1, &code, sizeof code)) {
            perror("modify_ldt");
            return 1;
        }
        code_selector = 7;
    }
    size_t capacity = (size_t)header->count * 1200 + 65536;
    uint8_t *result = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    static uint8_t alternate[65536];
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    static const int signals[] = {SIGTRAP, SIGSEGV, SIGILL, SIGFPE, SIGBUS};
    out = result;
    out_end = result + capacity;
    char name[64];
    uint16_t selectors[6];
    cpu_name(name);
    __asm__ volatile("mov %%es,%0\n mov %%cs,%1\n mov %%ss,%2\n mov %%ds,%3\n mov %%fs,%4\n mov %%gs,%5"
                     : "=m"(selectors[0]), "=m"(selectors[1]), "=m"(selectors[2]), "=m"(selectors[3]), "=m"(selectors[4]),
                       "=m"(selectors[5]));
    if (code_selector) selectors[1] = (uint16_t)code_selector;
#ifndef __x86_64__
    selectors[0] = selectors[3] = selectors[2];
#endif
    put(name, sizeof name);
    put(selectors, sizeof selectors);
    sigaltstack(&stack, NULL);
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &action, NULL);
    raise(SIGTRAP);
    int result_fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0644);
    for (uint8_t *at = result; at < out;) {
        ssize_t n = write(result_fd, at, (size_t)(out - at));
        if (n <= 0) {
            perror(argv[2]);
            return 1;
        }
        at += n;
    }
    close(result_fd);
    return 0;
}
