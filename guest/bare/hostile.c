// SPDX-License-Identifier: BSD-3-Clause
#include "bare.h"
const struct verb hostile_verbs[] = {{NULL, NULL, NULL}};
