//! The one table of who may do what unless an operator says otherwise: Glance's default rules
//! (33.0.0, those that it enforces with `enforce_new_defaults`, which is its default).

/// Administrators.
const ADMIN: &str = "rule:context_is_admin";
/// Those who may write in the project that owns it.
const MEMBER: &str = "rule:context_is_admin or (role:member and project_id:%(project_id)s)";
/// Those who may read in the project that owns it.
const READER: &str = "rule:context_is_admin or (role:reader and project_id:%(project_id)s)";
/// Those who may read in a project that sees the image.
const SEES_AS_READER: &str = "rule:context_is_admin or (role:reader and (\
    project_id:%(project_id)s or project_id:%(member_id)s or 'community':%(visibility)s or \
    'public':%(visibility)s or 'shared':%(visibility)s))";
/// Those who may write in a project that sees the image.
const SEES_AS_MEMBER: &str = "rule:context_is_admin or (role:member and (\
    project_id:%(project_id)s or project_id:%(member_id)s or 'community':%(visibility)s or \
    'public':%(visibility)s or 'shared':%(visibility)s))";
const READS_MEMBERS: &str = "rule:context_is_admin or role:reader and \
    (project_id:%(project_id)s or project_id:%(member_id)s)";
const READS_NAMESPACE: &str = "rule:context_is_admin or (role:reader and \
    (project_id:%(project_id)s or 'public':%(visibility)s))";
const METADEF_ADMIN: &str = "rule:metadef_admin";

/// Declares the enum, and the table in the order of its variants.
macro_rules! actions {
    ($($(#[$doc:meta])* $action:ident $name:literal $check:expr;)*) => {
        /// Something that a policy allows or not.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Action {
            $($(#[$doc])* $action,)*
        }

        impl Action {
            /// Its word in `policy.yaml`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$action => $name,)* }
            }
        }

        /// Name and default rule of each action; an action's own number is its place.
        pub(super) const ACTIONS: &[(&str, &str)] = &[$(($name, $check)),*];
    };
}

actions! {
    /// Make a record.
    AddImage "add_image" "rule:context_is_admin or (role:member and project_id:%(project_id)s \
        and project_id:%(owner)s)";
    /// Remove an image.
    DeleteImage "delete_image" MEMBER;
    /// See a record.  Who may not is told that there is none.
    GetImage "get_image" SEES_AS_READER;
    /// List records at all; each is asked about by [`Action::GetImage`], too.
    GetImages "get_images" READER;
    /// Change a record.
    ModifyImage "modify_image" MEMBER;
    /// Show it to everybody.
    PublicizeImage "publicize_image" ADMIN;
    /// Let everybody use it who knows of it.
    CommunitizeImage "communitize_image" MEMBER;
    /// Read its data.
    DownloadImage "download_image" SEES_AS_MEMBER;
    /// Write its data.
    UploadImage "upload_image" MEMBER;
    /// Remove one of the places where its data is, with the data.
    DeleteImageLocation "delete_image_location" ADMIN;
    /// Learn where its data is, to have some of it removed.
    GetImageLocation "get_image_location" READER;
    /// Say where its data is: `PATCH` of `locations`.
    SetImageLocation "set_image_location" MEMBER;
    /// Say where the data is of an image that has none: `POST …/locations`.
    AddImageLocation "add_image_location" "rule:service_api or (role:member and \
        project_id:%(project_id)s and project_id:%(owner)s)";
    /// Learn where its data is: `GET …/locations`.
    FetchImageLocation "fetch_image_location" "rule:service_api";
    /// Share it with a project.
    AddMember "add_member" MEMBER;
    /// Take it away from one.
    DeleteMember "delete_member" MEMBER;
    /// See one project that it is shared with.
    GetMember "get_member" READS_MEMBERS;
    /// See whom it is shared with.
    GetMembers "get_members" READS_MEMBERS;
    /// Say what one's project makes of it.
    ModifyMember "modify_member" "rule:context_is_admin or (role:member and \
        project_id:%(member_id)s)";
    /// The older resources of the disk cache.
    ManageImageCache "manage_image_cache" ADMIN;
    /// Take its data out of use.
    Deactivate "deactivate" MEMBER;
    /// Put its data back into use.
    Reactivate "reactivate" MEMBER;
    /// Copy its data to further stores.
    CopyImage "copy_image" ADMIN;
    /// Learn where it is cached.
    ListCachedNodes "list_cached_nodes" ADMIN;
    /// Have it cached.
    CacheImage "cache_image" ADMIN;
    /// See what is cached.
    CacheList "cache_list" ADMIN;
    /// Take images out of the cache.
    CacheDelete "cache_delete" ADMIN;
    /// Have the cache cleaned.
    CacheClean "cache_clean" ADMIN;
    /// Have the cache made smaller.
    CachePrune "cache_prune" ADMIN;
    /// Everything about tasks.
    TasksApiAccess "tasks_api_access" ADMIN;
    /// Learn how stores are configured.
    StoresInfoDetail "stores_info_detail" "rule:context_is_admin or rule:service_api";
    /// See a namespace of definitions.  Who may not is told that there is none.
    GetMetadefNamespace "get_metadef_namespace" READS_NAMESPACE;
    /// List namespaces at all.
    GetMetadefNamespaces "get_metadef_namespaces" READER;
    /// Change a namespace.
    ModifyMetadefNamespace "modify_metadef_namespace" METADEF_ADMIN;
    /// Make a namespace.
    AddMetadefNamespace "add_metadef_namespace" METADEF_ADMIN;
    /// Remove a namespace, or all of one kind that it has.
    DeleteMetadefNamespace "delete_metadef_namespace" METADEF_ADMIN;
    /// See an object.
    GetMetadefObject "get_metadef_object" READS_NAMESPACE;
    /// See the objects of a namespace.
    GetMetadefObjects "get_metadef_objects" READS_NAMESPACE;
    /// Change an object.
    ModifyMetadefObject "modify_metadef_object" METADEF_ADMIN;
    /// Make an object.
    AddMetadefObject "add_metadef_object" METADEF_ADMIN;
    /// Remove an object.
    DeleteMetadefObject "delete_metadef_object" METADEF_ADMIN;
    /// See types of resources.
    ListMetadefResourceTypes "list_metadef_resource_types" READS_NAMESPACE;
    /// See one of those that a namespace applies to.
    GetMetadefResourceType "get_metadef_resource_type" READS_NAMESPACE;
    /// Let a namespace apply to a type of resources.
    AddMetadefResourceTypeAssociation "add_metadef_resource_type_association" METADEF_ADMIN;
    /// End that.
    RemoveMetadefResourceTypeAssociation "remove_metadef_resource_type_association" METADEF_ADMIN;
    /// See a property.
    GetMetadefProperty "get_metadef_property" READS_NAMESPACE;
    /// See the properties of a namespace.
    GetMetadefProperties "get_metadef_properties" READS_NAMESPACE;
    /// Change a property.
    ModifyMetadefProperty "modify_metadef_property" METADEF_ADMIN;
    /// Make a property.
    AddMetadefProperty "add_metadef_property" METADEF_ADMIN;
    /// Remove a property.
    RemoveMetadefProperty "remove_metadef_property" METADEF_ADMIN;
    /// See a tag.
    GetMetadefTag "get_metadef_tag" READS_NAMESPACE;
    /// See the tags of a namespace.
    GetMetadefTags "get_metadef_tags" READS_NAMESPACE;
    /// Change a tag.
    ModifyMetadefTag "modify_metadef_tag" METADEF_ADMIN;
    /// Make a tag.
    AddMetadefTag "add_metadef_tag" METADEF_ADMIN;
    /// Make several tags.
    AddMetadefTags "add_metadef_tags" METADEF_ADMIN;
    /// Remove a tag.
    DeleteMetadefTag "delete_metadef_tag" METADEF_ADMIN;
    /// Remove all tags of a namespace.
    DeleteMetadefTags "delete_metadef_tags" METADEF_ADMIN;
}

/// The rule that says who is an administrator.
pub(super) const CONTEXT_IS_ADMIN: &str = "context_is_admin";

/// Rules that are there for others to refer to.
pub(super) const SHARED: &[(&str, &str)] = &[
    (CONTEXT_IS_ADMIN, "role:admin"),
    ("default", ""),
    ("service_api", "role:service or role:admin"),
    ("metadef_default", ""),
    ("metadef_admin", ADMIN),
];

/// Rules that Glance knows and that decide nothing here: it does not ask for those of tasks any more
/// itself, and there is no choosing of a store for a download.
pub(super) const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("get_task", "rule:default"),
    ("get_tasks", "rule:default"),
    ("add_task", "rule:default"),
    ("modify_task", "rule:default"),
    ("download_from_store", SEES_AS_MEMBER),
];
