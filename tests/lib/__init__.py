# SPDX-License-Identifier: BSD-3-Clause
"""What tests, benches and the demo share: guests, VMMs, and reports."""
