/* bytearray.h: files that hold a nested state as a list of numbers in text or
 * CBOR: what the readers of cloud-hypervisor's and crosvm's files share. */
#ifndef NSTATE_CONVERT_VMM_BYTEARRAY_H
#define NSTATE_CONVERT_VMM_BYTEARRAY_H

#include "convert/container.h"

enum { BA_MOST = 65536 };

/* [from, to) of the file is the list's text. */
struct byte_list { uint64_t from, to; };

/* Encodes n bytes as the file's list of numbers; malloc'ed. */
typedef uint8_t *list_encode_fn(const uint8_t *bytes, uint32_t n, size_t *len);

struct byte_lists {
	struct byte_list *v;   /* one for each state of the container */
	uint32_t n;
	list_encode_fn *encode;
};

bool byte_lists_add(struct byte_lists *l, uint64_t from, uint64_t to);
/* Writes the file with new lists where states are patched. */
enum nst_status byte_lists_rewrite(struct container *c,
				   const struct byte_lists *l, int fd,
				   const struct container_patch *p, size_t n,
				   struct nst_error *e);
/* An error that says why nothing can be changed in place. */
enum nst_status byte_lists_place(struct container *c,
				 const struct container_patch *p,
				 container_put_fn *put, void *arg,
				 struct nst_error *e);
/* A VMX or SVM nested state by its header? */
bool nested_plausible(const uint8_t *p, uint32_t n);
/* The kvm_regs and kvm_sregs of a vCPU, for inspect. */
void fill_container_vcpu(struct container_vcpu *v, const uint8_t *regs,
			 uint32_t nregs, const uint8_t *sregs, uint32_t nsregs);

#endif
