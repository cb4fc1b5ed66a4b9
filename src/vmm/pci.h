/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One PCI bus: a host bridge and up to 255 functions, each with one memory
 * BAR. Reached by configuration accesses (from the architecture's ports or
 * ECAM) and through the window for BARs on the memory bus.
 *
 * The VMM is the firmware here: pci_assign() places the BARs.
 */
#ifndef VMM_PCI_H
#define VMM_PCI_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/bus.h"
#include "vmm/machine.h"

/* One function's answers. Called from vCPU threads, several at a time. */
struct pci_function_ops {
	void (*config_read)(void *opaque, unsigned int offset, void *data,
			    unsigned int len);
	void (*config_write)(void *opaque, unsigned int offset,
			     const void *data, unsigned int len);
	void (*bar_read)(void *opaque, uint64_t offset, void *data,
			 unsigned int len);
	void (*bar_write)(void *opaque, uint64_t offset, const void *data,
			  unsigned int len);
};

struct pci_function {
	const struct pci_function_ops *ops;
	void *opaque;
	uint32_t bar_size; /* power of two, at least 4096 */
	/* Where the BAR is now; guarded by the bus's lock. */
	uint64_t bar_base;
	bool bar_enabled;
};

#define PCI_SLOTS	  32
#define PCI_MAX_FUNCTIONS 256 /* of a bus: slot << 3 | function */

struct pci_bus {
	pthread_mutex_t lock; /* guards the BARs' places */
	struct machine_range window;
	struct pci_function functions[PCI_MAX_FUNCTIONS];
};

/* Make the bus and claim window on the memory bus. */
void pci_init(struct pci_bus *pci, struct bus *mmio,
	      const struct machine_range *window);
void pci_finish(struct pci_bus *pci);

/*
 * Add a function; its devfn (slot << 3 | function), or -ENOSPC. Slots fill
 * first, then functions, so that each of the first 31 has a slot of its own
 * and can be told apart by slot.
 */
int pci_add(struct pci_bus *pci, const struct pci_function_ops *ops,
	    void *opaque, uint32_t bar_size);

/* The function's BAR moved or was switched on or off. */
void pci_bar_moved(struct pci_bus *pci, int devfn, uint64_t base, bool enabled);

/* Place all BARs in the window and enable them, as firmware does at start. */
void pci_assign(struct pci_bus *pci);

/* A configuration access. bdf beyond the bus, and functions that are not
 * there, read as all ones. */
void pci_config_read(struct pci_bus *pci, unsigned int bdf, unsigned int offset,
		     void *data, unsigned int len);
void pci_config_write(struct pci_bus *pci, unsigned int bdf,
		      unsigned int offset, const void *data, unsigned int len);

#endif
