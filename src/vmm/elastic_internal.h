/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of an elastic device share; nobody else includes it. */
#ifndef VMM_ELASTIC_INTERNAL_H
#define VMM_ELASTIC_INTERNAL_H

#include <pthread.h>
#include <vmem/device.h>

#include "host/hostmem.h"
#include "virtio/virtio_pci.h"
#include "virtio/virtqueue.h"
#include "vmm/elastic.h"

#define NR_VECTORS	 (VMEM_NR_QUEUES + 1)
#define NR_REQUEST_TYPES (VMEM_REQ_STATE + 1)
#define NR_RESPONSES	 (VMEM_RESP_ERROR + 1)

struct elastic {
	char id[VM_ID_MAX];
	int node;
	uint64_t addr, block_bytes, max_bytes;
	struct hostmem_placement placement;
	bool prealloc;
	struct kvm *kvm;
	struct pci_bus *pci;
	const struct guest_memory *memory;
	struct guard *guard;
	struct guard_region *guarded;
	struct hostmem mem;
	int devfn;
	unsigned int gsi[NR_VECTORS];
	int vector_fd[NR_VECTORS];
	int doorbell_fd;
	pthread_t worker;
	bool worker_started;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t idle;  /* busy became false */
	struct vmem_device *dev;
	void *storage;
	struct virtio_pci vp;
	struct virtq queue;
	struct virtq_chain chain; /* the worker's; too large for a stack */
	bool busy;		  /* the worker is in a request, or after it */
	/* What the last request plugged or unplugged: still to be opened, or to
	 * be discarded. Only the worker, or a reset, has such. */
	struct elastic_rest {
		uint64_t addr, size; /* size 0: nothing */
		bool discard;
	} rest;
	bool renewing;	     /* a reset takes all back at once */
	bool giving_back;    /* what it took the worker is to discard */
	int give_back_error; /* 0, or why it could not */
	bool reset_wanted;   /* stop the queue when it is done */
	bool quit;
	bool doorbell_on;
	uint64_t doorbell_addr;
	uint64_t nr_requests[NR_REQUEST_TYPES];
	uint64_t nr_responses[NR_RESPONSES];
	uint64_t nr_over_requested; /* PLUG beyond requested_size */
	uint64_t nr_config_writes, nr_broken;
	uint64_t changed_ms, request_ms; /* 0: never */
	uint64_t given_back_us;		 /* when giving_back became false */
};

uint64_t elastic_now_us(void);
uint64_t elastic_now_ms(void);

/* Write to an eventfd. */
void elastic_signal(int fd);

/* Do what a request left for after its answer; lets go of the lock. */
void elastic_do_rest(struct elastic *elastic);

/* Start the queue as the driver set it up. */
void elastic_queue_start(struct elastic *elastic,
			 const struct virtq_config *config);

/* The thread that serves the queue. */
void *elastic_worker(void *elastic);

#endif
