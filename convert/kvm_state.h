/* kvm_state.h: a live KVM vCPU's state to and from a snapshot.
 *
 * For authors of VMMs: with the VM stopped (no vCPU in KVM_RUN), call
 * nstate_capture with the file descriptors you already hold and the guest's
 * RAM as you mapped it, then write the snapshot with snapshot_write().  See
 * nstate-snapshot(5) for an example.
 */
#ifndef NSTATE_CONVERT_KVM_STATE_H
#define NSTATE_CONVERT_KVM_STATE_H

#include "layouts/error.h"
#include "layouts/snapshot.h"

#pragma GCC visibility push(default)

/* Reads one vCPU: registers, all MSRs of KVM_GET_MSR_INDEX_LIST and the VMX
 * capability MSRs, XSAVE, events, debug registers, LAPIC, CPUID, nested state.
 * kvm_fd is /dev/kvm.  After an I/O or MMIO exit, run the vCPU once with
 * immediate_exit set before this, or RIP still stands at the instruction. */
enum nst_status kvm_vcpu_get(int kvm_fd, int vcpu_fd, struct snapshot_vcpu *v,
			     struct nst_error *e);

/* Restores one vCPU in the order that KVM needs; RAM must be in place, for
 * KVM's checks read it.  Nested state comes last. */
enum nst_status kvm_vcpu_set(int vcpu_fd, const struct snapshot_vcpu *v,
			     struct nst_error *e);

/* KVM_GET_SUPPORTED_CPUID; *out is the caller's to free. */
enum nst_status kvm_supported_cpuid(int kvm_fd, struct kvm_cpuid2 **out,
				    struct nst_error *e);

/* The whole VM.  ram: the guest's memory, host pointers included; the snapshot
 * borrows it.  vm_fd may be -1: no irqchip, PIT or clock. */
enum nst_status nstate_capture(int kvm_fd, int vm_fd, const int *vcpu_fds,
			       uint32_t nvcpus, const struct snapshot_ram *ram,
			       uint32_t nram, struct snapshot **out,
			       struct nst_error *e);

#pragma GCC visibility pop

#endif
