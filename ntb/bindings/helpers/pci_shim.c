// SPDX-License-Identifier: GPL-2.0

#include <linux/bottom_half.h>

__rust_helper struct irq_domain *rust_helper_dev_get_msi_domain(const struct device *dev)
{
	return dev_get_msi_domain(dev);
}

__rust_helper void rust_helper_dev_set_msi_domain(struct device *dev, struct irq_domain *d)
{
	dev_set_msi_domain(dev, d);
}

__rust_helper int rust_helper_pcibus_to_node(struct pci_bus *bus)
{
	return pcibus_to_node(bus);
}

__rust_helper void rust_helper_wait_for_preempted_tasks(void)
{
	/* A macro for synchronize_rcu() where there is no CONFIG_TASKS_RCU. */
	synchronize_rcu_tasks();
}

__rust_helper struct device *rust_helper_virtio_device_parent(struct virtio_device *vdev)
{
	return vdev->dev.parent;
}

/* Without the anchor there is no virtio core either, and nobody asks. */
__rust_helper bool (*rust_helper_virtio_get_mem_acc_cb(void))(struct virtio_device *vdev)
{
#ifdef CONFIG_VIRTIO_ANCHOR
	return virtio_check_mem_acc_cb;
#else
	return NULL;
#endif
}

__rust_helper void rust_helper_virtio_set_mem_acc_cb(bool (*cb)(struct virtio_device *vdev))
{
#ifdef CONFIG_VIRTIO_ANCHOR
	WRITE_ONCE(virtio_check_mem_acc_cb, cb);
#endif
}

__rust_helper void rust_helper_local_bh_disable(void)
{
	local_bh_disable();
}

__rust_helper void rust_helper_local_bh_enable(void)
{
	local_bh_enable();
}
