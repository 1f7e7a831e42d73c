// SPDX-License-Identifier: GPL-2.0

__rust_helper void rust_helper_raw_spin_lock_init_class(raw_spinlock_t *lock, const char *name,
							struct lock_class_key *key)
{
#ifdef CONFIG_DEBUG_SPINLOCK
	__raw_spin_lock_init(lock, name, key, LD_WAIT_SPIN);
#else
	raw_spin_lock_init(lock);
#endif
}

__rust_helper unsigned long rust_helper_raw_spin_lock_irqsave(raw_spinlock_t *lock)
{
	unsigned long flags;

	raw_spin_lock_irqsave(lock, flags);
	return flags;
}

__rust_helper bool rust_helper_raw_spin_trylock_irqsave(raw_spinlock_t *lock, unsigned long *flags)
{
	return raw_spin_trylock_irqsave(lock, *flags);
}

__rust_helper void rust_helper_raw_spin_unlock_irqrestore(raw_spinlock_t *lock, unsigned long flags)
{
	raw_spin_unlock_irqrestore(lock, flags);
}

__rust_helper void rust_helper_raw_spin_assert_held(raw_spinlock_t *lock)
{
	lockdep_assert_held(lock);
}

__rust_helper void rust_helper_sysfs_attr_set_class(struct attribute *attr, struct lock_class_key *key)
{
#ifdef CONFIG_DEBUG_LOCK_ALLOC
	attr->key = key;
#endif
}

/* From Linux 7.3 on the two are in unions without a name. */
__rust_helper void rust_helper_kobj_attribute_set(struct kobj_attribute *attr,
						  ssize_t (*show)(struct kobject *kobj,
								  struct kobj_attribute *attr, char *buf),
						  ssize_t (*store)(struct kobject *kobj,
								   struct kobj_attribute *attr,
								   const char *buf, size_t count))
{
	attr->show = show;
	attr->store = store;
}

__rust_helper int rust_helper_sysfs_create_attr(struct kobject *kobj, const struct attribute *attr)
{
	return sysfs_create_file(kobj, attr);
}

__rust_helper void rust_helper_sysfs_remove_attr(struct kobject *kobj, const struct attribute *attr)
{
	sysfs_remove_file(kobj, attr);
}

__rust_helper struct workqueue_struct *rust_helper_alloc_unbound_workqueue(const char *name)
{
	return alloc_workqueue("%s", WQ_UNBOUND | WQ_HIGHPRI, 0, name);
}

__rust_helper void rust_helper_ratelimit_init(struct ratelimit_state *rs, int burst)
{
	ratelimit_state_init(rs, DEFAULT_RATELIMIT_INTERVAL, burst);
}

__rust_helper void rust_helper_dma_read_barrier(void)
{
	dma_rmb();
}

__rust_helper void rust_helper_write_barrier(void)
{
	wmb();
}

__rust_helper pci_bus_addr_t rust_helper_pci_bus_address(struct pci_dev *pdev, int bar)
{
	return pci_bus_address(pdev, bar);
}

__rust_helper struct pci_dev *rust_helper_pci_physfn(struct pci_dev *pdev)
{
	return pci_physfn(pdev);
}

__rust_helper void rust_helper_pci_set_dev_assigned(struct pci_dev *pdev)
{
	pci_set_dev_assigned(pdev);
}

__rust_helper void rust_helper_pci_clear_dev_assigned(struct pci_dev *pdev)
{
	pci_clear_dev_assigned(pdev);
}

__rust_helper unsigned long rust_helper_pci_resource_flags(struct pci_dev *pdev, int bar)
{
	return pci_resource_flags(pdev, bar);
}

__rust_helper bool rust_helper_device_iommu_translates(struct device *dev)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(dev);

	return domain && (domain->type & __IOMMU_DOMAIN_PAGING);
}

__rust_helper void rust_helper_device_lock(struct device *dev)
{
	device_lock(dev);
}

__rust_helper int rust_helper_device_trylock(struct device *dev)
{
	return device_trylock(dev);
}

__rust_helper void rust_helper_device_unlock(struct device *dev)
{
	device_unlock(dev);
}

/* Whether @dev is a disk or partition that somebody has open, or a network interface that is up. */
__rust_helper bool rust_helper_device_is_open(struct device *dev)
{
	if (!dev->class)
		return false;
#ifdef CONFIG_BLOCK
	if (!strcmp(dev->class->name, "block"))
		return atomic_read(&dev_to_bdev(dev)->bd_openers) > 0;
#endif
#ifdef CONFIG_NET
	if (!strcmp(dev->class->name, "net"))
		return to_net_dev(dev)->flags & IFF_UP;
#endif
	return false;
}

__rust_helper int rust_helper_dma_mapping_error(struct device *dev, dma_addr_t address)
{
	return dma_mapping_error(dev, address);
}

__rust_helper int rust_helper_pci_domain_nr(struct pci_bus *bus)
{
	return pci_domain_nr(bus);
}

static int count_device(struct device *dev, void *count)
{
	++*(unsigned int *)count;
	return 0;
}

/* Whether an IOMMU can tell @dev's accesses from those of all other devices. */
__rust_helper bool rust_helper_device_is_alone_in_iommu_group(struct device *dev)
{
	struct iommu_group *group = iommu_group_get(dev);
	unsigned int count = 0;

	if (!group)
		return false;
	iommu_group_for_each_dev(group, &count, count_device);
	iommu_group_put(group);
	return count == 1;
}

__rust_helper bool rust_helper_device_has_isolated_msi(struct device *dev)
{
	return msi_device_has_isolated_msi(dev);
}

/* Copies @dev's driver_override; returns its length, or zero if there is none or it does not fit with its end. */
__rust_helper size_t rust_helper_device_copy_driver_override(struct device *dev, char *name, size_t size)
{
	ssize_t length = 0;

	spin_lock(&dev->driver_override.lock);
	if (dev->driver_override.name)
		length = strscpy(name, dev->driver_override.name, size);
	spin_unlock(&dev->driver_override.lock);
	return length > 0 ? length : 0;
}

__rust_helper int rust_helper_notifier_from_errno(int error)
{
	return notifier_from_errno(error);
}

/* Makes a call in a kernel thread, and waits for it; returns what it returns. */
__rust_helper long rust_helper_call_in_worker(long (*call)(void *), void *arg)
{
	return work_on_cpu(raw_smp_processor_id(), call, arg);
}
