/* SPDX-License-Identifier: GPL-2.0-only */
/* The module's trace events. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM bellows_mem

#if !defined(BELLOWS_MEM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define BELLOWS_MEM_TRACE_H

#include <linux/tracepoint.h>

/* clang-format off */
TRACE_EVENT(bellows_mem_shortfall,
	TP_PROTO(u64 addr, u64 size, unsigned long pfn, const char *holder,
		 unsigned long nr_held, int error),
	TP_ARGS(addr, size, pfn, holder, nr_held, error),
	TP_STRUCT__entry(
		__field(u64, addr)
		__field(u64, size)
		__field(unsigned long, pfn)
		__field(const char *, holder)
		__field(unsigned long, nr_held)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->addr = addr;
		__entry->size = size;
		__entry->pfn = pfn;
		__entry->holder = holder;
		__entry->nr_held = nr_held;
		__entry->error = error;
	),
	TP_printk("block=%#llx size=%#llx pfn=%#lx holder=%s pages=%lu "
		  "error=%d", __entry->addr, __entry->size, __entry->pfn,
		  __entry->holder, __entry->nr_held, __entry->error)
);
/* clang-format on */

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
