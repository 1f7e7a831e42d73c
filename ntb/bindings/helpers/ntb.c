// SPDX-License-Identifier: GPL-2.0

__rust_helper u64 rust_helper_ntb_link_is_up(struct ntb_dev *ntb)
{
	return ntb_link_is_up(ntb, NULL, NULL);
}

__rust_helper int rust_helper_ntb_link_enable(struct ntb_dev *ntb)
{
	return ntb_link_enable(ntb, NTB_SPEED_AUTO, NTB_WIDTH_AUTO);
}

__rust_helper int rust_helper_ntb_link_disable(struct ntb_dev *ntb)
{
	return ntb_link_disable(ntb);
}

__rust_helper int rust_helper_ntb_peer_port_count(struct ntb_dev *ntb)
{
	return ntb_peer_port_count(ntb);
}

__rust_helper int rust_helper_ntb_mw_count(struct ntb_dev *ntb, int pidx)
{
	return ntb_mw_count(ntb, pidx);
}

__rust_helper int rust_helper_ntb_mw_get_align(struct ntb_dev *ntb, int pidx, int widx,
					       resource_size_t *addr_align, resource_size_t *size_align,
					       resource_size_t *size_max)
{
	return ntb_mw_get_align(ntb, pidx, widx, addr_align, size_align, size_max);
}

__rust_helper int rust_helper_ntb_mw_set_trans(struct ntb_dev *ntb, int pidx, int widx, dma_addr_t addr,
					       resource_size_t size)
{
	return ntb_mw_set_trans(ntb, pidx, widx, addr, size);
}

__rust_helper int rust_helper_ntb_mw_clear_trans(struct ntb_dev *ntb, int pidx, int widx)
{
	return ntb_mw_clear_trans(ntb, pidx, widx);
}

__rust_helper int rust_helper_ntb_peer_mw_count(struct ntb_dev *ntb)
{
	return ntb_peer_mw_count(ntb);
}

__rust_helper int rust_helper_ntb_peer_mw_get_addr(struct ntb_dev *ntb, int widx, phys_addr_t *base,
						   resource_size_t *size)
{
	return ntb_peer_mw_get_addr(ntb, widx, base, size);
}

__rust_helper u64 rust_helper_ntb_db_valid_mask(struct ntb_dev *ntb)
{
	return ntb_db_valid_mask(ntb);
}

__rust_helper u64 rust_helper_ntb_db_read(struct ntb_dev *ntb)
{
	return ntb_db_read(ntb);
}

__rust_helper int rust_helper_ntb_db_clear(struct ntb_dev *ntb, u64 bits)
{
	return ntb_db_clear(ntb, bits);
}

__rust_helper int rust_helper_ntb_db_set_mask(struct ntb_dev *ntb, u64 bits)
{
	return ntb_db_set_mask(ntb, bits);
}

__rust_helper int rust_helper_ntb_db_clear_mask(struct ntb_dev *ntb, u64 bits)
{
	return ntb_db_clear_mask(ntb, bits);
}

__rust_helper int rust_helper_ntb_peer_db_set(struct ntb_dev *ntb, u64 bits)
{
	return ntb_peer_db_set(ntb, bits);
}

__rust_helper int rust_helper_ntb_spad_count(struct ntb_dev *ntb)
{
	return ntb_spad_count(ntb);
}

__rust_helper u32 rust_helper_ntb_spad_read(struct ntb_dev *ntb, int sidx)
{
	return ntb_spad_read(ntb, sidx);
}

__rust_helper int rust_helper_ntb_peer_spad_write(struct ntb_dev *ntb, int pidx, int sidx, u32 val)
{
	return ntb_peer_spad_write(ntb, pidx, sidx, val);
}
