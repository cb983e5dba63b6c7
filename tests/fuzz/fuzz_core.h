/* fuzz_core.h: the form of fuzz_core.c's inputs: base, flags, then items, each a tag
 * and what it needs. */
#ifndef NSTATE_TESTS_FUZZ_CORE_H
#define NSTATE_TESTS_FUZZ_CORE_H

enum { CORE_CODE,   /* length, bytes that run next */
       CORE_REG,    /* number in kvm_regs, value */
       CORE_FIELD,  /* of the vmcs12: number, how (bit 0: flip bit how >> 1), value */
       CORE_WORD,   /* of RAM: page among those in use, offset, value */
       CORE_MSR,    /* number in the snapshot's list, value */
       CORE_SREGS, CORE_HEADER, CORE_EVENTS, CORE_LAPIC, /* offset, bits to flip */
       CORE_ITEMS };

enum { CORE_TWO = 1,      /* vCPUs */
       CORE_AGAIN = 2,    /* saved half-way and loaded again */
       CORE_BUILTIN = 4,  /* L2's exits go to the built-in L1 */
       CORE_IDENTITY = 8, /* which needs no EPT tables */
       CORE_SDM = 16,     /* L0 is no KVM */
       CORE_TWICE = 32 }; /* run in two machines */

#endif
