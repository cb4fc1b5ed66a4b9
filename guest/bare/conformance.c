// SPDX-License-Identifier: BSD-3-Clause
#include "bare.h"
const struct verb conformance_verbs[] = {{NULL, NULL, NULL}};
