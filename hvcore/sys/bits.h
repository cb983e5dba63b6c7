/* bits.h: architectural bits of control registers and MSR numbers (SDM vol. 3,
 * 2.5 and vol. 4), as far as the core acts on them. */
#ifndef NSTATE_HVCORE_SYS_BITS_H
#define NSTATE_HVCORE_SYS_BITS_H

#define CR0_PE (1ull << 0)
#define CR0_MP (1ull << 1)
#define CR0_EM (1ull << 2)
#define CR0_TS (1ull << 3)
#define CR0_ET (1ull << 4)
#define CR0_NE (1ull << 5)
#define CR0_WP (1ull << 16)
#define CR0_AM (1ull << 18)
#define CR0_NW (1ull << 29)
#define CR0_CD (1ull << 30)
#define CR0_PG (1ull << 31)

#define CR4_VME (1ull << 0)
#define CR4_PVI (1ull << 1)
#define CR4_TSD (1ull << 2)
#define CR4_DE (1ull << 3)
#define CR4_PSE (1ull << 4)
#define CR4_PAE (1ull << 5)
#define CR4_MCE (1ull << 6)
#define CR4_PGE (1ull << 7)
#define CR4_PCE (1ull << 8)
#define CR4_OSFXSR (1ull << 9)
#define CR4_OSXMMEXCPT (1ull << 10)
#define CR4_UMIP (1ull << 11)
#define CR4_LA57 (1ull << 12)
#define CR4_VMXE (1ull << 13)
#define CR4_SMXE (1ull << 14)
#define CR4_FSGSBASE (1ull << 16)
#define CR4_PCIDE (1ull << 17)
#define CR4_OSXSAVE (1ull << 18)
#define CR4_SMEP (1ull << 20)
#define CR4_SMAP (1ull << 21)
#define CR4_PKE (1ull << 22)
#define CR4_CET (1ull << 23)
#define CR4_PKS (1ull << 24)

#define EFER_SCE (1ull << 0)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)
#define EFER_NXE (1ull << 11)

#define DR6_B(n) (1ull << (n))
#define DR6_BD (1ull << 13)
#define DR6_BS (1ull << 14)
#define DR6_BT (1ull << 15)
#define DR6_RTM (1ull << 16)
#define DR6_INIT 0xffff0ff0ull
#define DR7_GD (1ull << 13)
#define DR7_INIT 0x400ull
/* R/W and LEN fields of breakpoint n. */
#define DR7_RW(v, n) ((v) >> (16 + 4 * (n)) & 3)
#define DR7_LEN(v, n) ((v) >> (18 + 4 * (n)) & 3)
#define DR7_ON(v, n) ((v) >> (2 * (n)) & 3)

/* IA32_MISC_ENABLE */
#define MISC_ENABLE_MONITOR (1ull << 18)
#define MISC_ENABLE_XD_OFF (1ull << 34)

/* Page-fault error code. */
#define PF_P 1u
#define PF_W 2u
#define PF_U 4u
#define PF_RSVD 8u
#define PF_I 16u
#define PF_PK 32u
#define PF_SS 64u

/* IA32_U_CET and IA32_S_CET. */
#define CET_SH_STK_EN (1ull << 0)
#define CET_WR_SHSTK_EN (1ull << 1)
#define CET_ENDBR_EN (1ull << 2)
#define CET_LEG_IW_EN (1ull << 3)
#define CET_NO_TRACK_EN (1ull << 4)
#define CET_SUPPRESS_DIS (1ull << 5)
#define CET_SUPPRESS (1ull << 10)
#define CET_TRACKER (1ull << 11)

#endif
