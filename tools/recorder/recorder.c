/*
 * Executes single instructions natively and writes down what they did.
 *
 * usage: recorder PROGRAM RESULT
 *
 * PROGRAM holds cases (see format.ts): instruction bytes, general registers, flags and a window of memory. Each case is
 * entered by returning from a signal handler with the registers of the case and TF set, so that the processor itself stops
 * after one instruction and the kernel reports registers, flags and instruction pointer, whatever the instruction did to
 * them. A fault arrives as a signal just the same, with its vector. A repeated string instruction traps after each
 * repetition with RIP unchanged, and is then resumed.
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
#define CODE_BYTES 0x20000u
#define CODE_OFFSET 0x100u
#define DATA_START 0x1000u
#define DATA_END 0x4000u
#define WINDOW 0x2000u
#define WINDOW_BYTES 512u
#define TF 0x100u
#define FLAGS_KEPT 0xcd5u
#define OK_VECTOR 255
#define TRAP_DEBUG 1

struct header {
    char magic[8];
    uint32_t bitness;
    uint32_t count;
};

struct test_case {
    uint8_t length;
    uint8_t bytes[15];
    uint32_t flags;
    uint32_t reserved;
    uint64_t gpr[16];
    uint8_t memory[WINDOW_BYTES];
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
static const struct test_case *cases;
static uint32_t next_case;
static ucontext_t original;
static uint8_t *out, *out_end;
static uint8_t expected[DATA_END - DATA_START];
static uintptr_t start_ip;
static unsigned code_selector;

static void put(const void *data, size_t bytes) {
    if (out + bytes > out_end) _exit(3);
    memcpy(out, data, bytes);
    out += bytes;
}

static void load(ucontext_t *context) {
    const struct test_case *c = &cases[next_case];
    uint8_t *code = (uint8_t *)(uintptr_t)(CODE + CODE_OFFSET);
    /* INT3 behind the instruction: a trap flag that was lost is caught at once. */
    memset(code, 0xcc, 32);
    memcpy(code, c->bytes, c->length);
    memset(expected, 0, sizeof expected);
    memcpy(expected + WINDOW - DATA_START, c->memory, WINDOW_BYTES);
    memcpy((void *)(uintptr_t)DATA_START, expected, sizeof expected);
    for (int i = 0; i < GPR_COUNT; i++) context->uc_mcontext.gregs[GREGS[i]] = (greg_t)c->gpr[i];
    context->uc_mcontext.gregs[REG_IP] = (greg_t)start_ip;
    context->uc_mcontext.gregs[REG_EFL] = (greg_t)(c->flags | TF | 0x202);
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
    }
    record(context, vector);
    if (++next_case < header->count) {
        load(context);
        return;
    }
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
    cases = (const struct test_case *)(program + sizeof *header);
    if (memcmp(header->magic, "TVCASES1", 8) || sizeof *header + header->count * sizeof *cases != (size_t)st.st_size) {
        fprintf(stderr, "%s: not a program of this recorder\n", argv[1]);
        return 1;
    }
    map(CODE, CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC);
    map(DATA_START, DATA_END - DATA_START, PROT_READ | PROT_WRITE);
    memset((void *)(uintptr_t)CODE, 0xcc, CODE_BYTES);
    if (header->bitness == 16) {
        struct user_desc code = {.entry_number = 0, .base_addr = CODE, .limit = 0xffff, .contents = MODIFY_LDT_CONTENTS_CODE};
        if (syscall(SYS_modify_ldt, 1, &code, sizeof code)) {
            perror("modify_ldt");
            return 1;
        }
        code_selector = 7;
    }
    size_t capacity = (size_t)header->count * 400 + 4096;
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
