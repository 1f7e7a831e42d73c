/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Headers that the kernel's own bindings leave out, or leave opaque. A counterpart of rust/bindings/bindings_helper.h.
 */
#include <crypto/sha2.h>
#include <keys/user-type.h>
#include <linux/kernel.h>
#include <linux/blkdev.h>
#include <linux/device.h>
#include <linux/dma-direct.h>
#include <linux/dma-map-ops.h>
#include <linux/iommu.h>
#include <linux/irqdomain.h>
#include <linux/key.h>
#include <linux/kobject.h>
#include <linux/msi.h>
#include <linux/notifier.h>
#include <linux/netdevice.h>
#include <linux/ntb.h>
#include <linux/pci.h>
#include <linux/spinlock.h>
#include <linux/suspend.h>
#include <linux/sysfs.h>
#include <linux/virtio.h>
#include <linux/virtio_anchor.h>
#include <linux/workqueue.h>
