// SPDX-License-Identifier: GPL-2.0

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
