// SPDX-License-Identifier: GPL-2.0

/*
 * The key of that description that the caller's keyrings hold, with a reference: one that user space cannot read if there
 * is one. Sleeps if it is just being made, but does not call user space to make one. An error pointer if there is none.
 */
__rust_helper struct key *rust_helper_find_key(const char *description)
{
#if IS_ENABLED(CONFIG_KEYS) && IS_ENABLED(CONFIG_CRYPTO_LIB_SHA256)
	struct key *key;

	/* request_key_rcu() does not look into the keyrings in keyrings, where those of a user are. */
	key = request_key(&key_type_logon, description, NULL);
	if (key == ERR_PTR(-ENOKEY))
		key = request_key(&key_type_user, description, NULL);
	return key;
#else
	return ERR_PTR(-EOPNOTSUPP);
#endif
}

__rust_helper void rust_helper_key_release(struct key *key)
{
	key_put(key);
}

__rust_helper const char *rust_helper_key_description(const struct key *key)
{
#ifdef CONFIG_KEYS
	return key->description;
#else
	return "";
#endif
}

/* HMAC-SHA256 of @message with the payload of @key, which is of type "user" or "logon". Does not sleep. */
__rust_helper int rust_helper_key_hmac_sha256(const struct key *key, const u8 *message, size_t length, size_t shortest,
					      u8 *mac)
{
#if IS_ENABLED(CONFIG_KEYS) && IS_ENABLED(CONFIG_CRYPTO_LIB_SHA256)
	const struct user_key_payload *payload;
	int error = key_validate(key);

	if (error)
		return error;
	rcu_read_lock();
	payload = user_key_payload_rcu(key);
	if (!payload)
		error = -EKEYREVOKED;
	else if (payload->datalen < shortest)
		error = -EINVAL;
	else
		hmac_sha256_usingrawkey(payload->data, payload->datalen, message, length, mac);
	rcu_read_unlock();
	return error;
#else
	return -EOPNOTSUPP;
#endif
}
