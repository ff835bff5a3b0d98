//! What Glance reads from its configuration and glancefs does not act upon.
//!
//! Only tells "has no effect here" from "nobody knows this option, perhaps it is misspelt"; both
//! are named once at start. The names are those of Glance 33.0.0 and its libraries, and of the
//! releases since 2013.

/// Sections that Glance reads and that have no effect here, whatever is in them.
pub const INEFFECTIVE_SECTIONS: &[&str] = &[
    "audit_middleware_notifications",
    "barbican",
    "barbican_service_user",
    "cache",
    "file",
    "key_manager",
    "matchmaker_redis",
    "os_glance_tasks_store",
    "oslo_concurrency",
    "oslo_messaging_amqp",
    "oslo_messaging_kafka",
    "oslo_middleware_tracing",
    "oslo_reports",
    "profiler",
    "profiler_jaeger",
    "profiler_otlp",
    "sample_castellan_source",
    "sample_remote_file_source",
    "ssl",
    "store_type_location_strategy",
    "taskflow_executor",
    "vault",
    "wsgi",
];

/// Options that Glance reads, or read once, in the sections that do have an effect: the section, and
/// names between white space.
pub const INEFFECTIVE_OPTIONS: &[(&str, &str)] = &[
    (
        "DEFAULT",
        "admin_password admin_role admin_tenant_name admin_user \
         allow_additional_image_properties allow_anonymous_access api_paste_config \
         auth_region auth_strategy auth_url backdoor_port backdoor_socket backlog bind_sock \
         cinder_catalog_info cleanup_scrubber cleanup_scrubber_time \
         client_socket_timeout config_dir config_file config_source \
         data_api db_enforce_mysql_charset default_log_levels \
         digest_algorithm disable_process_locking \
         enable_v1_registry enable_v2_api enable_v2_registry \
         enable_v3_api eventlet_executor_pool_size \
         executor_thread_pool_size fatal_deprecations filesystem_store_metadata_file \
         graceful_shutdown_timeout hash_algorithm http_keepalive \
         image_cache_driver image_cache_sqlite_db \
         image_cache_stall_time instance_format instance_uuid_format \
         location_strategy lock_path log-config log_color log_config log_config_append \
         log_date_format log_format log_options log_rotate_interval \
         log_rotate_interval_type log_rotation_type \
         logging_context_format_string logging_debug_format_suffix \
         logging_default_format_string logging_exception_prefix \
         logging_user_identity_format max_header_line max_logfile_count max_logfile_size_mb \
         max_request_id_length \
         os_region_name owner_is_tenant \
         policy_default_rule publish_errors pydev_worker_debug_host \
         pydev_worker_debug_port qpid_hostname qpid_notification_exchange \
         qpid_notification_topic qpid_password qpid_port qpid_username \
         rabbit_max_retries \
         rate_limit_burst rate_limit_except_level rate_limit_interval \
         registry_client_ca_file registry_client_cert_file registry_client_insecure \
         registry_client_key_file registry_client_protocol registry_client_timeout \
         registry_host registry_port restore rpc_backend rpc_conn_pool_size \
         rpc_ping_enabled rpc_response_timeout run_external_periodic_tasks \
         s3_store_access_key s3_store_bucket s3_store_bucket_url_format \
         s3_store_create_bucket_on_put s3_store_host s3_store_object_buffer_dir \
         s3_store_secret_key scrubber_datadir \
         secure_proxy_ssl_header send_identity_headers sheepdog_store_address \
         sheepdog_store_chunk_size sheepdog_store_port sql_connection_debug \
         sql_engine_callback_lib \
         swift_enable_snet swift_store_auth_address swift_store_auth_version \
         swift_store_config_file swift_store_container swift_store_create_container_on_put \
         swift_store_key swift_store_large_object_chunk_size swift_store_large_object_size \
         swift_store_multi_tenant swift_store_region swift_store_user \
         tcp_keepidle use_journal use_stderr \
         use_syslog_rfc_format use_user_token verbose \
         vmware_api_insecure vmware_datacenter_path vmware_datastore_name \
         vmware_server_host vmware_server_password vmware_server_username \
         workers wsgi_default_pool_size wsgi_keep_alive \
         wsgi_log_format wsgi_server_debug",
    ),
    (
        "database",
        "asyncio_connection asyncio_slave_connection backend connection_debug \
         connection_parameters connection_trace \
         db_inc_retry_interval db_max_retries db_max_retry_interval db_retry_interval \
         min_pool_size mysql_enable_ndb \
         mysql_sql_mode pool_timeout slave_connection \
         sqlite_db sqlite_synchronous synchronous_reader use_db_reconnect \
         use_tpool",
    ),
    (
        "glance_store",
        "cinder_api_insecure cinder_ca_certificates_file cinder_catalog_info \
         cinder_endpoint_template cinder_enforce_multipath cinder_http_retries \
         cinder_mount_point_base cinder_os_region_name cinder_state_transition_timeout \
         cinder_store_auth_address cinder_store_password cinder_store_project_name \
         cinder_store_user_name cinder_use_multipath cinder_volume_type \
         default_swift_reference filesystem_store_chunk_size filesystem_store_metadata_file \
         filesystem_store_thread_pool_size filesystem_store_threadpool_threshold \
         filesystem_store_timeout http_proxy_information https_ca_certificates_file \
         https_insecure \
         rootwrap_config \
         s3_store_access_key s3_store_bucket s3_store_bucket_url_format s3_store_cacert \
         s3_store_create_bucket_on_put s3_store_enable_data_integrity_protection \
         s3_store_host s3_store_large_object_chunk_size s3_store_large_object_size \
         s3_store_region_name s3_store_request_checksum_calculation \
         s3_store_response_checksum_validation s3_store_secret_key s3_store_thread_pools \
         sheepdog_store_address sheepdog_store_chunk_size sheepdog_store_port \
         store_capabilities_update_min_interval swift_buffer_on_upload \
         swift_store_admin_tenants swift_store_application_credential_id \
         swift_store_application_credential_secret swift_store_auth_address \
         swift_store_auth_insecure swift_store_auth_version swift_store_cacert \
         swift_store_config_file swift_store_container swift_store_create_container_on_put \
         swift_store_endpoint swift_store_endpoint_type swift_store_expire_soon_interval \
         swift_store_key swift_store_large_object_chunk_size swift_store_large_object_size \
         swift_store_multi_tenant swift_store_multiple_containers_seed \
         swift_store_project_id swift_store_project_name swift_store_region \
         swift_store_retry_get_count swift_store_service_type swift_store_ssl_compression \
         swift_store_use_trusts swift_store_user swift_upload_buffer_dir \
         vmware_api_retry_count vmware_ca_file vmware_datastores vmware_insecure \
         vmware_server_host vmware_server_password vmware_server_username \
         vmware_store_image_dir vmware_task_poll_interval",
    ),
    ("image_format", "gpt_safety_checks_nonfatal vmdk_allowed_types"),
    ("healthcheck", "allowed_source_ranges backends enable_by_file_paths ignore_proxied_requests"),
    ("image_import_opts", "max_parallel_stores"),
    (
        "keystone_authtoken",
        "admin_token auth_admin_prefix auth_section auth_version cache check_revocations_for_cached \
         default_domain_id default_domain_name delay_auth_decision domain_id domain_name \
         enforce_token_bind hash_algorithms include_service_catalog memcache_password \
         memcache_pool_conn_get_timeout memcache_pool_dead_retry memcache_pool_maxsize \
         memcache_pool_socket_timeout memcache_pool_unused_timeout memcache_sasl_enabled \
         memcache_secret_key memcache_security_strategy memcache_servers \
         memcache_tls_allowed_ciphers memcache_tls_cafile memcache_tls_certfile \
         memcache_tls_enabled memcache_tls_keyfile memcache_use_advanced_pool memcache_username \
         memcached_servers revocation_cache_time service_token_roles_required service_type \
         signing_dir trust_id user_id",
    ),
    (
        "os_glance_staging_store",
        "filesystem_store_chunk_size filesystem_store_datadirs filesystem_store_file_perm \
         filesystem_store_metadata_file filesystem_store_thread_pool_size \
         filesystem_store_threadpool_threshold filesystem_store_timeout \
         filesystem_thin_provisioning store_description weight",
    ),
    (
        "oslo_limit",
        "auth_section collect_timing connect_retries connect_retry_delay default_domain_id \
         default_domain_name domain_id domain_name endpoint_interface endpoint_override \
         endpoint_region_name endpoint_service_name endpoint_service_type max_version min_version \
         retriable_status_codes service_name service_type split_loggers status_code_retries \
         status_code_retry_delay timeout trust_id user_id valid_interfaces version",
    ),
    (
        "oslo_policy",
        "policy_default_rule remote_content_type remote_ssl_ca_crt_file \
         remote_ssl_client_crt_file remote_ssl_client_key_file remote_ssl_verify_server_crt \
         remote_timeout",
    ),
    (
        "oslo_messaging_rabbit",
        "conn_pool_min_size conn_pool_ttl direct_mandatory_flag enable_cancel_on_failover \
         fake_rabbit heartbeat_in_pthread heartbeat_rate hostname kombu_compression \
         kombu_failover_strategy kombu_missing_consumer_retry_timeout kombu_reconnect_delay \
         kombu_reconnect_splay kombu_reconnect_timeout kombu_ssl_version processname \
         rabbit_login_method rabbit_max_retries rabbit_qos_prefetch_count rabbit_stream_fanout \
         rabbit_transient_queues_ttl rabbit_transient_quorum_queue rpc_conn_pool_size \
         rpc_reply_retry_attempts ssl_enforce_fips_mode ssl_enforce_hostname_verification \
         ssl_version use_queue_manager",
    ),
    ("oslo_middleware", "max_request_body_size secure_proxy_ssl_header"),
    ("paste_deploy", "config_file"),
    ("task", "eventlet_executor_pool_size task_executor work_dir"),
];

/// Whether an option of `[DEFAULT]` is about the glance-registry of old releases, whose work is done here
/// by the process that answers.
pub(super) fn is_for_registry(name: &str) -> bool {
    name.starts_with("registry_")
        || ["data_api", "enable_v1_registry", "enable_v2_registry"].contains(&name)
}

/// Whether Glance (of today, or of 2013 and later) has an option of this name.
pub(super) fn known_to_glance(section: &str, name: &str) -> bool {
    INEFFECTIVE_SECTIONS.contains(&section)
        || INEFFECTIVE_OPTIONS
            .iter()
            .any(|(owner, names)| *owner == section && names.split_whitespace().any(|n| n == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_glance_old_and_new_are_known() {
        assert!(known_to_glance("DEFAULT", "workers"));
        assert!(known_to_glance("DEFAULT", "registry_host"));
        assert!(known_to_glance("glance_store", "swift_store_user"));
        assert!(known_to_glance("keystone_authtoken", "memcached_servers"));
        assert!(!known_to_glance("DEFAULT", "bind_hots"));
    }

    #[test]
    fn what_names_the_registry_is_for_the_registry() {
        let (_, names) = INEFFECTIVE_OPTIONS[0];
        let named: Vec<_> = names.split_whitespace().filter(|n| n.contains("registry")).collect();
        assert!(named.len() > 5 && named.iter().all(|name| is_for_registry(name)), "{named:?}");
        assert!(!is_for_registry("workers"));
    }
}
