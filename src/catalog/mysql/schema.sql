-- Glance 33.0.0's tables as `glance-manage db_sync` makes them in MySQL and MariaDB.  The version row is
-- written by schema.rs.  Statements end with a semicolon at the end of a line.
CREATE TABLE IF NOT EXISTS alembic_version (
  version_num varchar(32) NOT NULL,
  PRIMARY KEY (version_num)
) ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS images (
  id varchar(36) NOT NULL,
  name varchar(255),
  size bigint,
  status varchar(30) NOT NULL,
  created_at datetime NOT NULL,
  updated_at datetime,
  deleted_at datetime,
  deleted bool NOT NULL,
  disk_format varchar(20),
  container_format varchar(20),
  checksum varchar(32),
  owner varchar(255),
  min_disk int NOT NULL,
  min_ram int NOT NULL,
  protected bool NOT NULL DEFAULT 0,
  virtual_size bigint,
  visibility enum('private','public','shared','community') NOT NULL DEFAULT 'shared',
  os_hidden bool NOT NULL DEFAULT 0,
  os_hash_algo varchar(64),
  os_hash_value varchar(128),
  PRIMARY KEY (id),
  KEY checksum_image_idx (checksum),
  KEY ix_images_deleted (deleted),
  KEY owner_image_idx (owner),
  KEY created_at_image_idx (created_at),
  KEY updated_at_image_idx (updated_at),
  KEY visibility_image_idx (visibility),
  KEY os_hidden_image_idx (os_hidden),
  KEY os_hash_value_image_idx (os_hash_value),
  -- The first went with a column that Glance removed.
  CONSTRAINT CONSTRAINT_2 CHECK (deleted in (0,1)),
  CONSTRAINT CONSTRAINT_3 CHECK (protected in (0,1))
) ENGINE=InnoDB CHARSET=utf8;
CREATE TABLE IF NOT EXISTS image_properties (
  id int NOT NULL AUTO_INCREMENT,
  image_id varchar(36) NOT NULL,
  name varchar(255) NOT NULL,
  value text,
  created_at datetime NOT NULL,
  updated_at datetime,
  deleted_at datetime,
  deleted bool NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY ix_image_properties_image_id_name (image_id,name),
  KEY ix_image_properties_deleted (deleted),
  KEY ix_image_properties_image_id (image_id),
  FOREIGN KEY (image_id) REFERENCES images (id),
  CHECK (deleted in (0,1))
) ENGINE=InnoDB CHARSET=utf8;
CREATE TABLE IF NOT EXISTS image_locations (
  id int NOT NULL AUTO_INCREMENT,
  image_id varchar(36) NOT NULL,
  value text NOT NULL,
  created_at datetime NOT NULL,
  updated_at datetime,
  deleted_at datetime,
  deleted bool NOT NULL,
  meta_data text,
  status varchar(30) NOT NULL DEFAULT 'active',
  PRIMARY KEY (id),
  KEY ix_image_locations_deleted (deleted),
  KEY ix_image_locations_image_id (image_id),
  FOREIGN KEY (image_id) REFERENCES images (id),
  CHECK (deleted in (0,1))
) ENGINE=InnoDB CHARSET=utf8;
CREATE TABLE IF NOT EXISTS image_members (
  id int NOT NULL AUTO_INCREMENT,
  image_id varchar(36) NOT NULL,
  member varchar(255) NOT NULL,
  can_share bool NOT NULL,
  created_at datetime NOT NULL,
  updated_at datetime,
  deleted_at datetime,
  deleted bool NOT NULL,
  status varchar(20) NOT NULL DEFAULT 'pending',
  PRIMARY KEY (id),
  UNIQUE KEY image_members_image_id_member_deleted_at_key (image_id,member,deleted_at),
  KEY ix_image_members_deleted (deleted),
  KEY ix_image_members_image_id (image_id),
  KEY ix_image_members_image_id_member (image_id,member),
  FOREIGN KEY (image_id) REFERENCES images (id),
  CHECK (can_share in (0,1)),
  CHECK (deleted in (0,1))
) ENGINE=InnoDB CHARSET=utf8;
CREATE TABLE IF NOT EXISTS image_tags (
  id int NOT NULL AUTO_INCREMENT,
  image_id varchar(36) NOT NULL,
  value varchar(255) NOT NULL,
  created_at datetime NOT NULL,
  updated_at datetime,
  deleted_at datetime,
  deleted bool NOT NULL,
  PRIMARY KEY (id),
  KEY ix_image_tags_image_id (image_id),
  KEY ix_image_tags_image_id_tag_value (image_id,value),
  FOREIGN KEY (image_id) REFERENCES images (id),
  CHECK (deleted in (0,1))
) ENGINE=InnoDB CHARSET=utf8;
CREATE TABLE IF NOT EXISTS tasks (
  id varchar(36) NOT NULL,
  type varchar(30) NOT NULL,
  status varchar(30) NOT NULL,
  owner varchar(255) NOT NULL,
  expires_at datetime,
  created_at datetime NOT NULL,
  updated_at datetime,
  deleted_at datetime,
  deleted bool NOT NULL,
  image_id varchar(36),
  request_id varchar(64),
  user_id varchar(64),
  PRIMARY KEY (id),
  KEY ix_tasks_deleted (deleted),
  KEY ix_tasks_owner (owner),
  KEY ix_tasks_status (status),
  KEY ix_tasks_type (type),
  KEY ix_tasks_updated_at (updated_at),
  KEY ix_tasks_image_id (image_id),
  CHECK (deleted in (0,1))
) ENGINE=InnoDB CHARSET=utf8;
CREATE TABLE IF NOT EXISTS task_info (
  task_id varchar(36) NOT NULL,
  input text,
  result text,
  message text,
  PRIMARY KEY (task_id),
  FOREIGN KEY (task_id) REFERENCES tasks (id)
) ENGINE=InnoDB CHARSET=utf8;
CREATE TABLE IF NOT EXISTS metadef_namespaces (
  id int NOT NULL AUTO_INCREMENT,
  namespace varchar(80) NOT NULL,
  display_name varchar(80),
  description text,
  visibility varchar(32),
  protected bool,
  owner varchar(255) NOT NULL,
  created_at datetime NOT NULL,
  updated_at datetime,
  PRIMARY KEY (id),
  UNIQUE KEY uq_metadef_namespaces_namespace (namespace),
  KEY ix_metadef_namespaces_owner (owner),
  CHECK (protected in (0,1))
) ENGINE=InnoDB CHARSET=utf8;
CREATE TABLE IF NOT EXISTS metadef_resource_types (
  id int NOT NULL AUTO_INCREMENT,
  name varchar(80) NOT NULL,
  protected bool NOT NULL,
  created_at datetime NOT NULL,
  updated_at datetime,
  PRIMARY KEY (id),
  UNIQUE KEY uq_metadef_resource_types_name (name),
  CHECK (protected in (0,1))
) ENGINE=InnoDB CHARSET=utf8;
CREATE TABLE IF NOT EXISTS metadef_namespace_resource_types (
  resource_type_id int NOT NULL,
  namespace_id int NOT NULL,
  properties_target varchar(80),
  prefix varchar(80),
  created_at datetime NOT NULL,
  updated_at datetime,
  PRIMARY KEY (resource_type_id,namespace_id),
  KEY ix_metadef_ns_res_types_namespace_id (namespace_id),
  FOREIGN KEY (namespace_id) REFERENCES metadef_namespaces (id),
  FOREIGN KEY (resource_type_id) REFERENCES metadef_resource_types (id)
) ENGINE=InnoDB CHARSET=utf8;
CREATE TABLE IF NOT EXISTS metadef_objects (
  id int NOT NULL AUTO_INCREMENT,
  namespace_id int NOT NULL,
  name varchar(80) NOT NULL,
  description text,
  required text,
  json_schema text NOT NULL,
  created_at datetime NOT NULL,
  updated_at datetime,
  PRIMARY KEY (id),
  UNIQUE KEY uq_metadef_objects_namespace_id_name (namespace_id,name),
  KEY ix_metadef_objects_name (name),
  FOREIGN KEY (namespace_id) REFERENCES metadef_namespaces (id)
) ENGINE=InnoDB CHARSET=utf8;
CREATE TABLE IF NOT EXISTS metadef_properties (
  id int NOT NULL AUTO_INCREMENT,
  namespace_id int NOT NULL,
  name varchar(80) NOT NULL,
  json_schema text NOT NULL,
  created_at datetime NOT NULL,
  updated_at datetime,
  PRIMARY KEY (id),
  UNIQUE KEY uq_metadef_properties_namespace_id_name (namespace_id,name),
  KEY ix_metadef_properties_name (name),
  FOREIGN KEY (namespace_id) REFERENCES metadef_namespaces (id)
) ENGINE=InnoDB CHARSET=utf8;
CREATE TABLE IF NOT EXISTS metadef_tags (
  id int NOT NULL AUTO_INCREMENT,
  namespace_id int NOT NULL,
  name varchar(80) NOT NULL,
  created_at datetime NOT NULL,
  updated_at datetime,
  PRIMARY KEY (id),
  UNIQUE KEY uq_metadef_tags_namespace_id_name (namespace_id,name),
  KEY ix_metadef_tags_name (name),
  FOREIGN KEY (namespace_id) REFERENCES metadef_namespaces (id)
) ENGINE=InnoDB CHARSET=utf8;
CREATE TABLE IF NOT EXISTS node_reference (
  node_reference_id bigint NOT NULL AUTO_INCREMENT,
  node_reference_url varchar(255) NOT NULL,
  PRIMARY KEY (node_reference_id),
  UNIQUE KEY uq_node_reference_node_reference_url (node_reference_url)
) ENGINE=InnoDB CHARSET=utf8;
CREATE TABLE IF NOT EXISTS cached_images (
  id bigint NOT NULL AUTO_INCREMENT,
  image_id varchar(36) NOT NULL,
  last_accessed datetime NOT NULL,
  last_modified datetime NOT NULL,
  size bigint NOT NULL,
  hits int NOT NULL,
  checksum varchar(32),
  node_reference_id bigint NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY ix_cached_images_image_id_node_reference_id (image_id,node_reference_id),
  KEY node_reference_id (node_reference_id),
  FOREIGN KEY (node_reference_id) REFERENCES node_reference (node_reference_id)
) ENGINE=InnoDB CHARSET=utf8;
