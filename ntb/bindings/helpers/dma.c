// SPDX-License-Identifier: GPL-2.0

#include <linux/iommu-dma.h>
#include <linux/swiotlb.h>

/* The bounce buffers that @dev would use: whether there are any, and where. The fields do not change after boot. */
__rust_helper bool rust_helper_device_bounce_buffers(struct device *dev, phys_addr_t *start, phys_addr_t *end)
{
#ifdef CONFIG_SWIOTLB
	const struct io_tlb_mem *mem = dev->dma_io_tlb_mem;

	if (!mem || !mem->nslabs)
		return false;
	*start = mem->defpool.start;
	*end = mem->defpool.end;
	return true;
#else
	return false;
#endif
}

/* Whether there may be more of them, elsewhere, when these are full. */
__rust_helper bool rust_helper_device_bounce_buffers_grow(struct device *dev)
{
#ifdef CONFIG_SWIOTLB_DYNAMIC
	return dev->dma_io_tlb_mem && dev->dma_io_tlb_mem->can_grow;
#else
	return false;
#endif
}

/* Whether all that @dev is given goes through them. */
__rust_helper bool rust_helper_device_always_bounces(struct device *dev)
{
	return is_swiotlb_force_bounce(dev);
}

/* Maps a range of device memory for @dev at a fixed address, in the domain that the DMA API uses for it. */
__rust_helper int rust_helper_device_iommu_map(struct device *dev, unsigned long iova, phys_addr_t start, size_t size)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(dev);

	if (!domain)
		return -ENODEV;
	return iommu_map(domain, iova, start, size, IOMMU_READ | IOMMU_WRITE | IOMMU_MMIO, GFP_KERNEL);
}

__rust_helper void rust_helper_device_iommu_unmap(struct device *dev, unsigned long iova, size_t size)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(dev);

	if (domain)
		iommu_unmap(domain, iova, size);
}

__rust_helper bool rust_helper_use_dma_iommu(struct device *dev)
{
	return use_dma_iommu(dev);
}

/* Whether an IOMMU translates for @dev and for @other with the same tables. */
__rust_helper bool rust_helper_devices_share_iommu_domain(struct device *dev, struct device *other)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(dev);

	return domain && domain == iommu_get_domain_for_dev(other);
}
