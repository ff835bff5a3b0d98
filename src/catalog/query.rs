//! What to list: filters, order and page, as data.  `catalog` turns it into SQL; `api` fills it
//! from a query string.

use super::model::{ImageId, MemberStatus, Timestamp, Visibility};
use crate::identity::{ProjectId, RequestContext};

/// Whose view of the catalog is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Viewer {
    /// Sees everything (that [`VisibilityFilter`] lets through).
    Admin {
        /// The administrator's own project.
        project: Option<ProjectId>,
    },
    /// Sees public images, its own, and those shared with it.
    Project(ProjectId),
    /// Sees public images, and community images when they are asked for.  (Glance also lists shared
    /// images to it that have any member; that is not meant and not done here.)
    Nobody,
}

impl Viewer {
    /// The view that an identity has.
    pub fn of(ctx: &RequestContext) -> Self {
        match &ctx.project {
            project if ctx.admin => Self::Admin { project: project.clone() },
            Some(project) => Self::Project(project.clone()),
            None => Self::Nobody,
        }
    }
}

/// How a time or a size is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `eq:`
    Eq,
    /// `neq:`
    Neq,
    /// `gt:`
    Gt,
    /// `gte:`
    Gte,
    /// `lt:`
    Lt,
    /// `lte:`
    Lte,
}

impl Comparison {
    /// The operator in SQL.
    pub const fn operator(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::Neq => "<>",
            Self::Gt => ">",
            Self::Gte => ">=",
            Self::Lt => "<",
            Self::Lte => "<=",
        }
    }
}

/// A column that a text filter or an order can name.  Glance: the image's own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// `id`
    Id,
    /// `name`
    Name,
    /// `status`
    Status,
    /// `disk_format`
    DiskFormat,
    /// `container_format`
    ContainerFormat,
    /// `visibility`
    Visibility,
    /// `owner`
    Owner,
    /// `checksum`
    Checksum,
    /// `os_hash_algo`
    OsHashAlgo,
    /// `os_hash_value`
    OsHashValue,
    /// `size`
    Size,
    /// `virtual_size`
    VirtualSize,
    /// `min_disk`
    MinDisk,
    /// `min_ram`
    MinRam,
    /// `protected`
    Protected,
    /// `os_hidden`
    OsHidden,
    /// `created_at`
    CreatedAt,
    /// `updated_at`
    UpdatedAt,
}

impl Column {
    /// What the column is called in the table `images`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Name => "name",
            Self::Status => "status",
            Self::DiskFormat => "disk_format",
            Self::ContainerFormat => "container_format",
            Self::Visibility => "visibility",
            Self::Owner => "owner",
            Self::Checksum => "checksum",
            Self::OsHashAlgo => "os_hash_algo",
            Self::OsHashValue => "os_hash_value",
            Self::Size => "size",
            Self::VirtualSize => "virtual_size",
            Self::MinDisk => "min_disk",
            Self::MinRam => "min_ram",
            Self::Protected => "protected",
            Self::OsHidden => "os_hidden",
            Self::CreatedAt => "created_at",
            Self::UpdatedAt => "updated_at",
        }
    }

    /// Whether a record may be without it.
    pub const fn is_nullable(self) -> bool {
        match self {
            Self::Id
            | Self::Status
            | Self::Visibility
            | Self::MinDisk
            | Self::MinRam
            | Self::Protected
            | Self::OsHidden
            | Self::CreatedAt => false,
            Self::Name
            | Self::DiskFormat
            | Self::ContainerFormat
            | Self::Owner
            | Self::Checksum
            | Self::OsHashAlgo
            | Self::OsHashValue
            | Self::Size
            | Self::VirtualSize
            | Self::UpdatedAt => true,
        }
    }
}

/// One condition; all conditions of a query must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The column's text is one of these (one value: `=`; several: Glance's `in:`).
    OneOf(Column, Vec<String>),
    /// A number column equals.
    Number(Column, i64),
    /// `protected` is.
    Protected(bool),
    /// `size >= n` bytes.
    SizeMin(i64),
    /// `size <= n` bytes.
    SizeMax(i64),
    /// `created_at` or `updated_at` compares so.
    Time(Column, Comparison, Timestamp),
    /// Has this tag.
    Tag(String),
    /// Has this custom property with this value.
    Property(String, String),
}

/// Which visibilities are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VisibilityFilter {
    /// Glance's default, for administrators too: everything visible, but community images only of
    /// one's own project.
    #[default]
    Usual,
    /// `visibility=all`: community images too.
    All,
    /// One kind.
    Only(Visibility),
}

/// The direction of one sort key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

impl Direction {
    /// The word in SQL.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ascending => "ASC",
            Self::Descending => "DESC",
        }
    }
}

/// A page of a filtered, ordered catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageQuery {
    /// Whose view.
    pub viewer: Viewer,
    /// Which visibilities.
    pub visibility: VisibilityFilter,
    /// Which memberships count for a shared image, `None` for all.  Glance: `member_status`, by
    /// default those that were accepted.
    pub member_status: Option<MemberStatus>,
    /// `os_hidden` images instead of the others (`None`: both).
    pub hidden: Option<bool>,
    /// Further conditions.
    pub filters: Vec<Filter>,
    /// Sort keys in order.  `created_at` and `id` are appended where missing, so the order is total:
    /// descending, or in the direction of the only key if there is just one.  Glance appends them
    /// in the direction of the only *direction* given, so that of
    /// `sort_key=a&sort_key=b&sort_dir=asc` has to be spelt out here.  NULL is the smallest value.
    pub sort: Vec<(Column, Direction)>,
    /// The last image of the page before.
    pub marker: Option<ImageId>,
    /// Images on the page at most; `None` for all.
    pub limit: Option<u64>,
}

impl ImageQuery {
    /// Everything that the viewer sees in Glance's default order.
    pub fn all_for(viewer: Viewer) -> Self {
        Self {
            viewer,
            visibility: VisibilityFilter::Usual,
            member_status: Some(MemberStatus::Accepted),
            hidden: Some(false),
            filters: Vec::new(),
            sort: Vec::new(),
            marker: None,
            limit: None,
        }
    }

    /// The sort keys with those that make the order total.
    ///
    /// Glance: `created_at` and `id` follow, newest first, or in the direction of the only key.
    pub fn order(&self) -> Vec<(Column, Direction)> {
        let default = match self.sort.as_slice() {
            [(_, only)] => *only,
            _ => Direction::Descending,
        };
        let mut keys: Vec<(Column, Direction)> = Vec::new();
        let total = [(Column::CreatedAt, default), (Column::Id, default)];
        for key in self.sort.iter().chain(&total) {
            if keys.iter().all(|(column, _)| *column != key.0) {
                keys.push(*key);
            }
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_ends_with_created_at_and_id_in_glances_directions() {
        use Direction::{Ascending, Descending};
        let order_of = |sort: &[(Column, Direction)]| {
            let viewer = Viewer::Nobody;
            ImageQuery { sort: sort.to_vec(), ..ImageQuery::all_for(viewer) }.order()
        };
        let (made, id) = (Column::CreatedAt, Column::Id);
        assert_eq!(order_of(&[]), [(made, Descending), (id, Descending)]);
        let by_name = (Column::Name, Ascending);
        assert_eq!(order_of(&[by_name]), [by_name, (made, Ascending), (id, Ascending)]);
        assert_eq!(
            order_of(&[by_name, (id, Ascending)]),
            [by_name, (id, Ascending), (made, Descending)]
        );
    }
}
