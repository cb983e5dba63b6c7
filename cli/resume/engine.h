/* engine.h: what runs a snapshot: the embedded core, or real KVM.
 *
 * Both implement struct engine_ops with the core's own terms (hv_limits,
 * hv_stop, hv_ops, hv_stats), so that resume and gdb do not care which.
 */
#ifndef NSTATE_CLI_RESUME_ENGINE_H
#define NSTATE_CLI_RESUME_ENGINE_H

#include "hvcore/hvcore.h"
#include "layouts/snapshot.h"

struct engine;

struct engine_options {
	const char *cpu;      /* as for cpu_model_set; NULL: as in the snapshot */
	bool cpu_asked;       /* cpu goes before a CPUID table in the snapshot */
	const char *l0;       /* L0 profile, or NULL: by the snapshot's origin */
	bool builtin_l1;      /* exits of L2 are answered by the built-in L1 */
	bool ept_identity;    /* builtin: missing EPT tables map one to one */
	bool ignore_devices;  /* absent devices read ones instead of stopping */
	struct hv_ops ops;
	/* The engine has all it needs of the host: called before anything of the
	 * snapshot reaches it. */
	enum nst_status (*isolate)(void *arg, struct nst_error *e);
	void *isolate_arg;
};

struct engine_ops {
	const char *name;
	/* s stays the caller's and must outlive the engine: its RAM is used in
	 * place. */
	enum nst_status (*create)(struct engine **out, struct snapshot *s,
				  const struct engine_options *o,
				  struct nst_error *e);
	void (*run)(struct engine *g, const struct hv_limits *limits,
		    struct hv_stop *stop);
	void (*request_stop)(struct engine *g, uint64_t code);
	/* Brings s's registers up to date (its RAM is already). */
	enum nst_status (*save)(struct engine *g, struct snapshot *s,
				struct nst_error *e);
	const struct hv_stats *(*stats)(struct engine *g);
	/* The core's VM for what only it can do (breakpoints, trace), or NULL. */
	struct vm *(*core)(struct engine *g);
	void (*destroy)(struct engine *g);
};

extern const struct engine_ops engine_core, engine_kvm;
/* NULL where this machine can run nested VMX on KVM, else what is missing. */
const char *engine_kvm_missing(void);

#endif
