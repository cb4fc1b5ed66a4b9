// SPDX-License-Identifier: BSD-3-Clause
/* The PCI bus and its host bridge. */
#include <errno.h>
#include <string.h>

#include "pci.h"

/* Registers of the type 0 header that the bus itself touches. */
#define REG_COMMAND	0x04
#define REG_HEADER_TYPE 0x0e
#define REG_BAR0	0x10
#define COMMAND_MEMORY	0x0002
#define MULTI_FUNCTION	0x80
#define CONFIG_SIZE	4096

/* A plain PCIe host bridge: "Red Hat" and "QEMU PCIe host bridge" in the
 * public list of IDs, known to drivers as a bridge with nothing to drive. */
static const uint8_t host_bridge[] = {
	0x36, 0x1b, 0x08, 0x00, /* vendor, device */
	0x00, 0x00, 0x00, 0x00, /* command, status */
	0x00, 0x00, 0x00, 0x06, /* revision, class: host bridge */
};

static void bridge_config_read(void *opaque, unsigned int offset, void *data,
			       unsigned int len)
{
	memset(data, 0, len);
	for (unsigned int i = 0; i < len; i++) {
		if (offset + i < sizeof(host_bridge))
			((uint8_t *)data)[i] = host_bridge[offset + i];
	}
}

static void bridge_config_write(void *opaque, unsigned int offset,
				const void *data, unsigned int len)
{
}

static const struct pci_function_ops bridge_ops = {
	.config_read = bridge_config_read,
	.config_write = bridge_config_write,
};

/* Find the BAR that addr lies in. The copy is used without the lock: a BAR
 * that moves meanwhile answers one last time at its old place. */
static bool find_bar(struct pci_bus *pci, uint64_t addr, unsigned int len,
		     struct pci_function *found)
{
	bool hit = false;

	pthread_mutex_lock(&pci->lock);
	for (int i = 0; i < PCI_MAX_FUNCTIONS && !hit; i++) {
		const struct pci_function *f = &pci->functions[i];

		hit = f->bar_enabled && addr >= f->bar_base &&
		      addr - f->bar_base < f->bar_size &&
		      len <= f->bar_size - (addr - f->bar_base);
		if (hit)
			*found = *f;
	}
	pthread_mutex_unlock(&pci->lock);
	return hit;
}

static void window_read(void *opaque, uint64_t offset, void *data,
			unsigned int len)
{
	struct pci_bus *pci = opaque;
	uint64_t addr = pci->window.start + offset;
	struct pci_function f;

	if (find_bar(pci, addr, len, &f))
		f.ops->bar_read(f.opaque, addr - f.bar_base, data, len);
	else
		memset(data, 0xff, len);
}

static void window_write(void *opaque, uint64_t offset, const void *data,
			 unsigned int len)
{
	struct pci_bus *pci = opaque;
	uint64_t addr = pci->window.start + offset;
	struct pci_function f;

	if (find_bar(pci, addr, len, &f))
		f.ops->bar_write(f.opaque, addr - f.bar_base, data, len);
}

static const struct bus_ops window_ops = {
	.read = window_read,
	.write = window_write,
};

void pci_init(struct pci_bus *pci, struct bus *mmio,
	      const struct machine_range *window)
{
	const struct bus_range range = {window->start, window->size,
					&window_ops, pci};

	memset(pci, 0, sizeof(*pci));
	pthread_mutex_init(&pci->lock, NULL);
	pci->window = *window;
	pci->functions[0].ops = &bridge_ops;
	bus_add(mmio, &range);
}

void pci_finish(struct pci_bus *pci)
{
	pthread_mutex_destroy(&pci->lock);
}

int pci_add(struct pci_bus *pci, const struct pci_function_ops *ops,
	    void *opaque, uint32_t bar_size)
{
	for (int function = 0; function < 8; function++) {
		for (int slot = 1; slot < PCI_SLOTS; slot++) {
			struct pci_function *f =
				&pci->functions[slot << 3 | function];

			if (f->ops)
				continue;
			f->ops = ops;
			f->opaque = opaque;
			f->bar_size = bar_size;
			return slot << 3 | function;
		}
	}
	return -ENOSPC;
}

void pci_bar_moved(struct pci_bus *pci, int devfn, uint64_t base, bool enabled)
{
	pthread_mutex_lock(&pci->lock);
	pci->functions[devfn].bar_base = base;
	pci->functions[devfn].bar_enabled = enabled;
	pthread_mutex_unlock(&pci->lock);
}

void pci_assign(struct pci_bus *pci)
{
	uint64_t next = pci->window.start;

	for (int i = 0; i < PCI_MAX_FUNCTIONS; i++) {
		const struct pci_function *f = &pci->functions[i];
		const uint16_t command = COMMAND_MEMORY;
		uint32_t base;

		if (!f->ops || !f->bar_size)
			continue;
		next = (next + f->bar_size - 1) & ~(uint64_t)(f->bar_size - 1);
		base = (uint32_t)next;
		f->ops->config_write(f->opaque, REG_BAR0, &base, sizeof(base));
		f->ops->config_write(f->opaque, REG_COMMAND, &command,
				     sizeof(command));
		next += f->bar_size;
	}
}

static const struct pci_function *find_function(const struct pci_bus *pci,
						unsigned int bdf)
{
	if (bdf >= PCI_MAX_FUNCTIONS || !pci->functions[bdf].ops)
		return NULL;
	return &pci->functions[bdf];
}

/* Function 0 of a slot says whether there are others. */
static bool slot_has_more(const struct pci_bus *pci, unsigned int bdf)
{
	for (unsigned int i = bdf + 1; (i & 7) != 0; i++) {
		if (pci->functions[i].ops)
			return true;
	}
	return false;
}

void pci_config_read(struct pci_bus *pci, unsigned int bdf, unsigned int offset,
		     void *data, unsigned int len)
{
	const struct pci_function *f = find_function(pci, bdf);

	if (!f || offset + len > CONFIG_SIZE) {
		memset(data, 0xff, len);
		return;
	}
	f->ops->config_read(f->opaque, offset, data, len);
	if ((bdf & 7) == 0 && offset <= REG_HEADER_TYPE &&
	    offset + len > REG_HEADER_TYPE && slot_has_more(pci, bdf))
		((uint8_t *)data)[REG_HEADER_TYPE - offset] |= MULTI_FUNCTION;
}

void pci_config_write(struct pci_bus *pci, unsigned int bdf,
		      unsigned int offset, const void *data, unsigned int len)
{
	const struct pci_function *f = find_function(pci, bdf);

	if (f && offset + len <= CONFIG_SIZE)
		f->ops->config_write(f->opaque, offset, data, len);
}
