/* device.h: PCI devices by way of sysfs.  Source: Documentation/ABI/testing/sysfs-bus-pci,
 * sysfs-kernel-iommu_groups of the kernel. */
#ifndef VMWIRE_HOST_LINUX_DEVICE_H
#define VMWIRE_HOST_LINUX_DEVICE_H

#include "host/linux/linux.h"

/* Every PCI device below `sysfs` ("/sys"), into observed->devices, in the order of their addresses; whatever
 * is missing or malformed there counts as not known.  Also observed->iommu.  Without what the parents know of
 * their functions: functions_observe. */
int pci_observe(struct arena *arena, const char *sysfs, struct observed *observed, struct err *err);

/* Does /proc/interrupts, as text, show that interrupts are remapped, or that this is no x86? */
bool interrupts_remapped(const char *interrupts);

/* What each parent was told of its functions (RTM_GETLINK with RTEXT_FILTER_VF). */
int functions_observe(struct linux_host *host, struct arena *arena, struct observed *observed,
                      struct err *err);

#endif
