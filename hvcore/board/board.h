/* board.h: the devices among themselves; private to board/.
 *
 * Owns every device's state and virtual time.  Time is one number for the whole
 * VM, `board_now`: instructions retired by all vCPUs (they run in turns) plus
 * the ticks skipped while all of them were halted.  One tick is one TSC tick of
 * the model (tsc_khz).  Nothing here reads the host's clock.
 */
#ifndef NSTATE_HVCORE_BOARD_BOARD_H
#define NSTATE_HVCORE_BOARD_BOARD_H

#include "hvcore/parts.h"

#define BOARD_NEVER UINT64_MAX
#define LAPIC_BASE 0xfee00000ull
#define IOAPIC_BASE 0xfec00000ull
#define IOAPIC_PINS 24
#define TESTDEV_RAM 0xff000000ull

/* -- local APIC (lapic.c, lapic_timer.c, ipi.c) ----------------------------- */
/* Indexes into lapic.reg: the register's offset / 16. */
enum {
	LR_ID = 0x02, LR_VERSION = 0x03, LR_TPR = 0x08, LR_PPR = 0x0a,
	LR_EOI = 0x0b, LR_LDR = 0x0d, LR_DFR = 0x0e, LR_SVR = 0x0f,
	LR_ISR = 0x10, LR_TMR = 0x18, LR_IRR = 0x20, LR_ESR = 0x28,
	LR_CMCI = 0x2f, LR_ICR = 0x30, LR_ICR2 = 0x31, LR_LVTT = 0x32,
	LR_LVT_THERMAL = 0x33, LR_LVT_PERF = 0x34, LR_LVT0 = 0x35,
	LR_LVT1 = 0x36, LR_LVT_ERROR = 0x37, LR_TMICT = 0x38, LR_TMCCT = 0x39,
	LR_TDCR = 0x3e, LR_SELF_IPI = 0x3f, LR_COUNT = 0x40,
};
enum { DM_FIXED, DM_LOWEST, DM_SMI, DM_RESERVED, DM_NMI, DM_INIT, DM_STARTUP,
       DM_EXTINT };
#define LVT_MASKED 0x10000u
#define LVT_MODE(v) ((v) >> 17 & 3)
enum { TIMER_ONESHOT, TIMER_PERIODIC, TIMER_DEADLINE };
enum { ESR_SEND_ILLEGAL = 0x20, ESR_RECV_ILLEGAL = 0x40, ESR_REGISTER = 0x80 };
#define APICBASE_BSP 0x100u
#define APICBASE_EXTD 0x400u
#define APICBASE_EN 0x800u

struct lapic {
	struct vcpu *c;
	uint64_t base;           /* IA32_APIC_BASE */
	uint32_t reg[LR_COUNT];  /* in x2APIC mode LR_ID is the whole ID */
	uint32_t esr_pending;
	uint32_t timer_div;      /* 1, 2, 4 ... 128 */
	uint64_t timer_start;    /* when the count was TMICT */
	bool timer_running;
	uint64_t deadline;       /* IA32_TSC_DEADLINE, 0: disarmed */
	uint64_t skew;           /* board_now = cpu_icount + skew */
	uint64_t level_mark;     /* cpu_icount at the last change of level */
	uint8_t sipi_vector;
};

static inline bool lapic_x2(const struct lapic *l)
{
	return (l->base & (APICBASE_EN | APICBASE_EXTD)) ==
	       (APICBASE_EN | APICBASE_EXTD);
}
static inline bool lapic_hw_enabled(const struct lapic *l)
{
	return l->base & APICBASE_EN;
}
/* An interrupt message, from an ICR, the IOAPIC or an LVT. */
struct apic_msg {
	uint32_t dest;
	uint8_t vector, mode;
	bool logical, level;     /* level: trigger mode */
	bool x2;                 /* dest is an x2APIC destination */
};
void apic_send(struct vm *vm, const struct apic_msg *m);
void lapic_accept(struct lapic *l, const struct apic_msg *m);
uint32_t lapic_priority(const struct lapic *l); /* PPR */
void lapic_update(struct lapic *l);   /* after anything that may change what
                                       * is deliverable */
/* ICR write: sends. */
void lapic_icr(struct lapic *l, uint32_t low, uint32_t dest);
/* The same register by MMIO offset or MSR; false: no such register. */
bool lapic_reg_read(struct lapic *l, unsigned r, uint32_t *v);
bool lapic_reg_write(struct lapic *l, unsigned r, uint32_t v);
void lapic_error(struct lapic *l, uint32_t bit);
void lapic_lvt_fire(struct lapic *l, unsigned r);
void lapic_timer_reset(struct lapic *l);
void lapic_timer_lvt(struct lapic *l, uint32_t old_lvt);
void lapic_timer_start(struct lapic *l);
void lapic_timer_divide(struct lapic *l);
uint32_t lapic_timer_count(struct lapic *l);
uint64_t lapic_timer_due(const struct lapic *l);
void lapic_timer_resume(struct lapic *l, uint32_t count);
void lapic_timer_take(struct lapic *l);
uint64_t lapic_mmio_read(void *dev, struct vcpu *c, uint64_t off, unsigned size);
void lapic_mmio_write(void *dev, struct vcpu *c, uint64_t off, unsigned size,
		      uint64_t v);

/* -- interrupt controllers (pic.c, ioapic.c) --------------------------------
 * Truth values in these structs are bytes, because snapshots carry them. */
struct pic {
	uint8_t irr, isr, imr, elcr, lines; /* lines: levels as seen */
	uint8_t base, icw_step, icw4_needed;
	uint8_t read_isr, poll, special_mask, auto_eoi, rotate_auto, nested;
	uint8_t priority;        /* lowest-priority line + 1 */
};
struct ioapic {
	uint8_t select, id;
	uint32_t lines;          /* levels */
	uint32_t irr;
	uint64_t rte[IOAPIC_PINS];
};

/* -- timers (pit.c, rtc.c) -------------------------------------------------- */
struct pit_channel {
	uint32_t count;          /* 1..65536 (or 1..10000 in BCD) */
	uint16_t latched;
	uint8_t latch_left;      /* bytes of latched still to be read */
	uint8_t status;
	uint8_t status_latched, write_low_done, read_low_done, bcd, gate, loaded;
	uint8_t low, access, mode;
	uint64_t start;          /* time of load or of the gate's rising edge */
};
struct pit {
	struct pit_channel ch[3];
	uint8_t speaker;
	uint8_t out0;               /* level of channel 0's output, as IRQ 0 saw */
	uint64_t due;
};
struct rtc {
	uint8_t index, cmos[128];
	int64_t base_seconds;    /* calendar at base_time, in Unix seconds */
	uint64_t base_time;
	uint64_t periodic_next, second_next;
};

/* -- the rest (serial.c, fwcfg.c, misc.c) ----------------------------------- */
struct serial {
	uint8_t ier, lcr, mcr, scr, fcr, dll, dlm, msr_delta;
	uint8_t thre_pending;
	uint8_t rx[256];
	unsigned rx_head, rx_count;
	uint8_t overrun;
};
struct fw_cfg {
	uint16_t select;
	uint32_t offset;
};

struct board {
	struct vm *vm;
	uint64_t now;            /* global time at the start of the turn */
	uint64_t due;            /* earliest event of any device */
	struct vcpu *running;    /* that executes now, or NULL */
	unsigned turn;           /* whose turn it is */
	uint64_t turn_left;      /* instructions */
	struct pic pic[2];
	uint32_t dev_lines, test_lines; /* interrupt lines by who drives them */
	struct ioapic ioapic;
	struct pit pit;
	struct rtc rtc;
	struct serial serial;
	struct fw_cfg fw;
	uint32_t pci_address;
	uint16_t pm_enable;
	uint8_t port92, port61, scratch[4];
	uint8_t shutdown_match;  /* letters of "Shutdown" seen on 0x8900 */
	uint8_t *testdev_ram;
};

/* absent.c: does not return where the port is an absent device's. */
void absent_io(struct vcpu *c, uint16_t port, unsigned size);
uint64_t board_now(const struct board *b);
uint64_t board_khz(const struct board *b);
/* Ticks from board time to a clock of hz, and back (rounding up). */
uint64_t board_to_hz(const struct board *b, uint64_t ticks, uint64_t hz);
uint64_t board_from_hz(const struct board *b, uint64_t n, uint64_t hz);
/* After any change of a device's next due time. */
void board_rearm(struct board *b);
/* Drives interrupt line 0..23 (ISA lines below 16). */
void board_irq(struct board *b, unsigned line, bool level);
void board_test_irq(struct board *b, unsigned line, bool level);
void board_stop(struct board *b, struct vcpu *c, enum hv_stop_reason why,
		uint64_t code, const char *text);

void pic_reset(struct board *b);
void pic_line(struct board *b, unsigned line, bool level);
bool pic_output(const struct board *b);
int pic_ack(struct board *b);
uint8_t pic_read(struct board *b, uint16_t port);
void pic_write(struct board *b, uint16_t port, uint8_t v);
void ioapic_line(struct board *b, unsigned pin, bool level);
void ioapic_eoi(struct board *b, uint8_t vector);
uint64_t ioapic_mmio_read(void *dev, struct vcpu *c, uint64_t off, unsigned size);
void ioapic_mmio_write(void *dev, struct vcpu *c, uint64_t off, unsigned size,
		       uint64_t v);
void pit_reset(struct board *b);
uint8_t pit_read(struct board *b, uint16_t port);
void pit_write(struct board *b, uint16_t port, uint8_t v);
void pit_rearm(struct board *b);
void pit_take(struct board *b);
bool pit_out(struct board *b, unsigned n);
void rtc_reset(struct board *b);
uint8_t rtc_read(struct board *b, uint16_t port);
void rtc_write(struct board *b, uint16_t port, uint8_t v);
uint64_t rtc_due(struct board *b);
/* From a snapshot's own structs. */
void rtc_set(struct board *b, const struct snapshot_rtc *s);
void serial_set(struct board *b, const struct snapshot_uart *s);
void rtc_rearm(struct board *b);
void rtc_take(struct board *b);
void serial_reset(struct board *b);
uint8_t serial_read(struct board *b, uint16_t port);
void serial_write(struct board *b, uint16_t port, uint8_t v);
bool serial_receive(struct board *b, uint8_t byte);
uint8_t fwcfg_read(struct board *b);
void fwcfg_select(struct board *b, uint16_t key);
uint64_t testdev_read(void *dev, struct vcpu *c, uint64_t off, unsigned size);
void testdev_write(void *dev, struct vcpu *c, uint64_t off, unsigned size,
		   uint64_t v);

#endif
