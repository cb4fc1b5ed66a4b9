// SPDX-License-Identifier: BSD-3-Clause
/* KVM: the VM, memory slots, doorbells and interrupts. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kvm.h"

#define KVM_DEVICE "/dev/kvm"

/* What we cannot do without, with the word to name it by. */
static const struct {
	long cap;
	const char *name;
} needed_capabilities[] = {
	{KVM_CAP_IRQCHIP, "an in-kernel interrupt controller"},
	{KVM_CAP_USER_MEMORY, "user memory regions"},
	{KVM_CAP_IRQFD, "irqfd"},
	{KVM_CAP_IOEVENTFD, "ioeventfd"},
	{KVM_CAP_IRQ_ROUTING, "interrupt routing"},
	{KVM_CAP_SIGNAL_MSI, "message-signalled interrupts"},
	{KVM_CAP_IMMEDIATE_EXIT, "immediate exit"},
};

static int open_device(struct error *err)
{
	int fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	switch (errno) {
	case EACCES:
	case EPERM:
		return error_set(err, -EACCES,
				 "no permission on " KVM_DEVICE
				 "; run as root or join the group that owns it "
				 "(usually kvm)");
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return error_set(
			err, -ENODEV,
			"no KVM on this host: cannot open " KVM_DEVICE
			" (%s); load the module kvm_intel or kvm_amd and "
			"check that virtualization is enabled",
			strerror(errno));
	default:
		return error_set_errno(err, -errno, "cannot open " KVM_DEVICE);
	}
}

static int check_capabilities(const struct kvm *kvm, struct error *err)
{
	int version = ioctl(kvm->sys_fd, KVM_GET_API_VERSION, 0);

	if (version != KVM_API_VERSION)
		return error_set(err, -ENODEV,
				 KVM_DEVICE " speaks API version %d, not %d",
				 version, KVM_API_VERSION);
	for (size_t i = 0;
	     i < sizeof(needed_capabilities) / sizeof(needed_capabilities[0]);
	     i++) {
		if (kvm_capability(kvm, needed_capabilities[i].cap) <= 0)
			return error_set(
				err, -ENODEV,
				"KVM of this host lacks %s; use a newer kernel",
				needed_capabilities[i].name);
	}
	return 0;
}

int kvm_create(struct kvm *kvm, struct error *err)
{
	int ret;

	memset(kvm, 0, sizeof(*kvm));
	kvm->vm_fd = -1;
	kvm->sys_fd = open_device(err);
	if (kvm->sys_fd < 0)
		return kvm->sys_fd;
	pthread_mutex_init(&kvm->route_lock, NULL);

	ret = check_capabilities(kvm, err);
	if (ret)
		goto fail;
	kvm->vcpu_run_size = ioctl(kvm->sys_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (kvm->vcpu_run_size < (int)sizeof(struct kvm_run)) {
		ret = error_set(err, -ENODEV,
				"KVM gives no size for its run area");
		goto fail;
	}
	do {
		kvm->vm_fd = ioctl(kvm->sys_fd, KVM_CREATE_VM, 0);
	} while (kvm->vm_fd < 0 && errno == EINTR);
	if (kvm->vm_fd < 0) {
		ret = error_set_errno(err, -errno, "KVM cannot make a VM");
		goto fail;
	}
	kvm->routing =
		calloc(1, sizeof(*kvm->routing) +
				  KVM_MAX_MSI_ROUTES *
					  sizeof(kvm->routing->entries[0]));
	if (!kvm->routing) {
		ret = error_set(err, -ENOMEM, "no memory for MSI routes");
		goto fail;
	}
	return 0;
fail:
	kvm_destroy(kvm);
	return ret;
}

void kvm_destroy(struct kvm *kvm)
{
	free(kvm->routing);
	free(kvm->slots);
	kvm->routing = NULL;
	kvm->slots = NULL;
	if (kvm->vm_fd >= 0)
		close(kvm->vm_fd);
	if (kvm->sys_fd >= 0) {
		close(kvm->sys_fd);
		pthread_mutex_destroy(&kvm->route_lock);
	}
	kvm->vm_fd = kvm->sys_fd = -1;
}

int kvm_capability(const struct kvm *kvm, long cap)
{
	int fd = kvm->vm_fd >= 0 ? kvm->vm_fd : kvm->sys_fd;
	int value = ioctl(fd, KVM_CHECK_EXTENSION, cap);

	return value > 0 ? value : 0;
}

/* size 0 takes the slot away. */
static int set_slot(struct kvm *kvm, unsigned int number,
		    const struct kvm_slot *slot, struct error *err)
{
	struct kvm_userspace_memory_region region = {
		.slot = number,
		.guest_phys_addr = slot->gpa,
		.memory_size = slot->size,
		.userspace_addr = (uintptr_t)slot->host,
	};

	if (ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return error_set_errno(
			err, -errno,
			"KVM does not take %llu MiB of guest memory at %#llx",
			(unsigned long long)(slot->size >> 20),
			(unsigned long long)slot->gpa);
	kvm->slots[number] = *slot;
	return 0;
}

int kvm_add_memory(struct kvm *kvm, uint64_t gpa, uint64_t size, void *host,
		   struct error *err)
{
	const struct kvm_slot slot = {gpa, size, host};
	struct kvm_slot *slots;
	unsigned int number = 0;

	if (!size)
		return 0;
	while (number < kvm->nr_slots && kvm->slots[number].size)
		number++;
	if (number == kvm->nr_slots) {
		slots = reallocarray(kvm->slots, number + 1, sizeof(*slots));
		if (!slots)
			return error_set(err, -ENOMEM,
					 "no memory for a memory slot");
		slots[number] = (struct kvm_slot){0};
		kvm->slots = slots;
		kvm->nr_slots++;
	}
	return set_slot(kvm, number, &slot, err);
}

/* The slot that holds gpa; nr_slots if there is none. */
static unsigned int find_slot(const struct kvm *kvm, uint64_t gpa)
{
	unsigned int i = 0;

	while (i < kvm->nr_slots &&
	       (gpa < kvm->slots[i].gpa ||
		gpa - kvm->slots[i].gpa >= kvm->slots[i].size))
		i++;
	return i;
}

int kvm_cut_memory(struct kvm *kvm, uint64_t gpa, uint64_t size,
		   struct error *err)
{
	unsigned int number = find_slot(kvm, gpa);
	struct kvm_slot whole;
	uint64_t head;
	int ret;

	if (number == kvm->nr_slots)
		return error_set(err, -EINVAL, "no guest memory at %#llx",
				 (unsigned long long)gpa);
	whole = kvm->slots[number];
	head = gpa - whole.gpa;
	ret = set_slot(kvm, number, &(struct kvm_slot){.gpa = whole.gpa}, err);
	if (!ret)
		ret = kvm_add_memory(kvm, whole.gpa, head, whole.host, err);
	if (!ret)
		ret = kvm_add_memory(kvm, gpa + size, whole.size - head - size,
				     whole.host + head + size, err);
	return ret;
}

int kvm_join_memory(struct kvm *kvm, uint64_t gpa, uint64_t size, void *host,
		    struct error *err)
{
	struct kvm_slot all = {gpa, size, host};
	unsigned int before = find_slot(kvm, gpa - 1);
	unsigned int after = find_slot(kvm, gpa + size);
	int ret = 0;

	if (before < kvm->nr_slots &&
	    kvm->slots[before].host + kvm->slots[before].size == all.host) {
		all.gpa = kvm->slots[before].gpa;
		all.host = kvm->slots[before].host;
		all.size += kvm->slots[before].size;
		ret = set_slot(kvm, before, &(struct kvm_slot){.gpa = all.gpa},
			       err);
	}
	if (!ret && after < kvm->nr_slots &&
	    all.host + all.size == kvm->slots[after].host) {
		all.size += kvm->slots[after].size;
		ret = set_slot(kvm, after,
			       &(struct kvm_slot){.gpa = kvm->slots[after].gpa},
			       err);
	}
	return ret ? ret
		   : kvm_add_memory(kvm, all.gpa, all.size, all.host, err);
}

int kvm_set_doorbell(struct kvm *kvm, uint64_t addr, uint32_t len, int fd,
		     bool on)
{
	struct kvm_ioeventfd doorbell = {
		.addr = addr,
		.len = len,
		.fd = fd,
		.flags = on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN,
	};

	return ioctl(kvm->vm_fd, KVM_IOEVENTFD, &doorbell) < 0 ? -errno : 0;
}

static int set_routing(struct kvm *kvm)
{
	kvm->routing->nr = kvm->nr_fixed + kvm->nr_msi;
	if (ioctl(kvm->vm_fd, KVM_SET_GSI_ROUTING, kvm->routing) < 0)
		return -errno;
	return 0;
}

int kvm_set_fixed_routes(struct kvm *kvm,
			 const struct kvm_irq_routing_entry *entries,
			 unsigned int nr)
{
	int ret = -ENOSPC;

	pthread_mutex_lock(&kvm->route_lock);
	if (nr <= KVM_MAX_MSI_ROUTES) {
		memcpy(kvm->routing->entries, entries, nr * sizeof(*entries));
		kvm->nr_fixed = nr;
		ret = set_routing(kvm);
	}
	pthread_mutex_unlock(&kvm->route_lock);
	return ret;
}

int kvm_add_msi(struct kvm *kvm, unsigned int first_gsi, int fd,
		unsigned int *gsi, struct error *err)
{
	struct kvm_irqfd irqfd = {.fd = (uint32_t)fd};
	struct kvm_irq_routing_entry *entry;
	int ret = 0;

	pthread_mutex_lock(&kvm->route_lock);
	if (kvm->nr_fixed + kvm->nr_msi == KVM_MAX_MSI_ROUTES) {
		ret = error_set(err, -ENOSPC, "more than %u interrupt routes",
				KVM_MAX_MSI_ROUTES);
		goto out;
	}
	*gsi = first_gsi + kvm->nr_msi;
	irqfd.gsi = *gsi;
	if (ioctl(kvm->vm_fd, KVM_IRQFD, &irqfd) < 0) {
		ret = error_set_errno(err, -errno, "KVM refuses an irqfd");
		goto out;
	}
	/* An all-zero MSI goes nowhere until it is routed. */
	entry = &kvm->routing->entries[kvm->nr_fixed + kvm->nr_msi];
	*entry = (struct kvm_irq_routing_entry){
		.gsi = *gsi,
		.type = KVM_IRQ_ROUTING_MSI,
	};
	kvm->nr_msi++;
out:
	pthread_mutex_unlock(&kvm->route_lock);
	return ret;
}

int kvm_route_msi(struct kvm *kvm, unsigned int gsi, uint64_t addr,
		  uint32_t data)
{
	struct kvm_irq_routing_entry *entry = NULL;
	int ret = 0;

	pthread_mutex_lock(&kvm->route_lock);
	for (unsigned int i = 0; i < kvm->nr_msi; i++) {
		if (kvm->routing->entries[kvm->nr_fixed + i].gsi == gsi)
			entry = &kvm->routing->entries[kvm->nr_fixed + i];
	}
	if (!entry) {
		ret = -ENOENT;
	} else if (!kvm->routes_live || entry->u.msi.data != data ||
		   entry->u.msi.address_lo != (uint32_t)addr ||
		   entry->u.msi.address_hi != (uint32_t)(addr >> 32)) {
		entry->u.msi.address_lo = (uint32_t)addr;
		entry->u.msi.address_hi = (uint32_t)(addr >> 32);
		entry->u.msi.data = data;
		ret = set_routing(kvm);
		kvm->routes_live = ret == 0;
	}
	pthread_mutex_unlock(&kvm->route_lock);
	return ret;
}

int kvm_set_irq_line(struct kvm *kvm, unsigned int gsi, bool level)
{
	struct kvm_irq_level line = {.irq = gsi, .level = level};

	return ioctl(kvm->vm_fd, KVM_IRQ_LINE, &line) < 0 ? -errno : 0;
}
