// SPDX-License-Identifier: GPL-2.0

#include <linux/iommu-dma.h>

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

__rust_helper bool rust_helper_use_dma_iommu(struct device *dev)
{
	return use_dma_iommu(dev);
}
