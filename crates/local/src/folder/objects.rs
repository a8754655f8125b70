//! The objects of a folder: what s3s-fs serves, and what it does not. A key that no file can be named after lies under
//! its digest; what is deleted leaves nothing behind; a list reads no more than the folder that its prefix names; of two
//! writes that are to happen only if there is no object one is refused; and uploads in parts are listed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;

use super::bodies::{self, Gathered};
use super::listing::{self, Entry};
use super::long_keys::{LongKeys, UPLOAD_ROOM};
use super::tidy::Tidy;
use super::turns::Turns;
use super::uploads;

/// Most entries of one page of a list.
const PAGE: i32 = 1000;

pub(super) struct Objects {
    files: FileSystem,
    root: PathBuf,
    long: Arc<LongKeys>,
    tidy: Arc<Tidy>,
    turns: Turns,
}

impl Objects {
    /// Serves what lies in `root`.
    pub(super) fn new(root: &Path) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let root = root.canonicalize()?;
        let files = FileSystem::new(&root).map_err(|error| format!("{error:?}"))?;
        let long = Arc::new(LongKeys::read(&root)?);
        Ok(Self { files, long, tidy: Arc::default(), turns: Turns::default(), root })
    }

    /// The key under which s3s-fs has an object.
    fn place(&self, bucket: &str, key: &str) -> String {
        self.long.place(bucket, key, 0)
    }

    /// The same for one that is about to be written; its key is noted if its place does not tell it.
    async fn new_place(&self, bucket: &str, key: &str, room: usize) -> S3Result<String> {
        // A write would make the folder.
        if !self.bucket(bucket).is_dir() {
            return Err(s3_error!(NoSuchBucket));
        }
        let place = self.long.place(bucket, key, room);
        if place != key {
            let (long, bucket, key) = (Arc::clone(&self.long), bucket.to_owned(), key.to_owned());
            blocking(move || long.note(&bucket, &key)).await?;
        }
        Ok(place)
    }

    /// s3s-fs would say of an upload that was ended that it is somebody else's.
    fn check_upload(&self, id: &str) -> S3Result<()> {
        if uploads::exists(&self.root, id) { Ok(()) } else { Err(s3_error!(NoSuchUpload)) }
    }

    fn bucket(&self, bucket: &str) -> PathBuf {
        self.root.join(bucket)
    }

    async fn remove(&self, bucket: &str, key: &str) -> S3Result<()> {
        let place = self.place(bucket, key);
        let (root, long, tidy) = (self.root.clone(), Arc::clone(&self.long), Arc::clone(&self.tidy));
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        blocking(move || {
            let bucket_folder = root.join(&bucket);
            if !bucket_folder.is_dir() {
                return Err(io::Error::new(io::ErrorKind::NotFound, "no such bucket"));
            }
            let path = bucket_folder.join(&place);
            gone(if place.ends_with('/') {
                std::fs::remove_dir(&path)
            } else {
                std::fs::remove_file(&path)
            })?;
            for beside in listing::sidecars(&root, &bucket, &place) {
                gone(std::fs::remove_file(beside))?;
            }
            if place != key {
                long.forget(&bucket, &key)?;
            }
            tidy.prune(&bucket_folder, &path);
            Ok(())
        })
        .await
    }

    async fn entries(&self, bucket: &str, prefix: &str) -> S3Result<Vec<Entry>> {
        let (folder, prefix) = (self.bucket(bucket), prefix.to_owned());
        let long = self.long.beginning_with(bucket, &prefix);
        if !folder.is_dir() {
            return Err(s3_error!(NoSuchBucket));
        }
        blocking(move || listing::entries(&folder, &prefix, long)).await
    }
}

/// That it is not there, or not empty, is no fault of whoever deletes.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    use io::ErrorKind::{DirectoryNotEmpty, IsADirectory, NotADirectory, NotFound};
    match removed {
        Err(error) if matches!(error.kind(), DirectoryNotEmpty | IsADirectory | NotADirectory | NotFound) => {
            Ok(())
        }
        removed => removed,
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> S3Result<T> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten();
    done.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => s3_error!(NoSuchBucket),
        _ => s3_error!(error, InternalError),
    })
}

#[async_trait::async_trait]
impl S3 for Objects {
    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        self.files.create_bucket(request).await
    }

    async fn delete_bucket(
        &self,
        request: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        // What lies beside the folder of a bucket would be left behind by its removal.
        if !self.entries(&request.input.bucket, "").await?.is_empty() {
            return Err(s3_error!(BucketNotEmpty));
        }
        self.files.delete_bucket(request).await
    }

    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.files.head_bucket(request).await
    }

    async fn list_buckets(
        &self,
        request: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        self.files.list_buckets(request).await
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.files.get_bucket_location(request).await
    }

    async fn get_object(
        &self,
        mut request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        request.input.key = self.place(&request.input.bucket, &request.input.key);
        let path = self.bucket(&request.input.bucket).join(&request.input.key);
        let file = bodies::open(&path).await;
        let mut answer = self.files.get_object(request).await?;
        bodies::read_from(file, &path, &mut answer.output).await;
        Ok(answer)
    }

    async fn head_object(
        &self,
        mut request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        request.input.key = self.place(&request.input.bucket, &request.input.key);
        self.files.head_object(request).await
    }

    async fn put_object(
        &self,
        mut request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let bucket = request.input.bucket.clone();
        request.input.key = self.new_place(&bucket, &request.input.key, 0).await?;
        let _used = self.tidy.using(&self.bucket(&bucket).join(&request.input.key));
        let _turn = match request.input.if_none_match {
            Some(_) => Some(self.turns.take(&bucket, &request.input.key).await),
            None => None,
        };
        request.input.body = request.input.body.map(Gathered::of);
        self.files.put_object(request).await
    }

    async fn copy_object(
        &self,
        mut request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        if let CopySource::Bucket { bucket, key, .. } = &mut request.input.copy_source {
            *key = self.place(bucket, key).into();
        }
        let bucket = request.input.bucket.clone();
        request.input.key = self.new_place(&bucket, &request.input.key, 0).await?;
        let _used = self.tidy.using(&self.bucket(&bucket).join(&request.input.key));
        self.files.copy_object(request).await
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.remove(&request.input.bucket, &request.input.key).await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let mut deleted = Vec::new();
        for object in request.input.delete.objects {
            self.remove(&request.input.bucket, &object.key).await?;
            deleted.push(DeletedObject { key: Some(object.key), ..Default::default() });
        }
        Ok(S3Response::new(DeleteObjectsOutput { deleted: Some(deleted), ..Default::default() }))
    }

    async fn list_objects(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let listed = self.list_objects_v2(request.map_input(Into::into)).await?;
        Ok(listed.map_output(|listed| ListObjectsOutput {
            contents: listed.contents,
            common_prefixes: listed.common_prefixes,
            delimiter: listed.delimiter,
            name: listed.name,
            prefix: listed.prefix,
            max_keys: listed.max_keys,
            is_truncated: listed.is_truncated,
            next_marker: listed.next_continuation_token,
            ..Default::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let prefix = input.prefix.clone().unwrap_or_default();
        let entries = self.entries(&input.bucket, &prefix).await?;
        let after = input.continuation_token.as_deref().max(input.start_after.as_deref());
        let most = input.max_keys.unwrap_or(PAGE).clamp(0, PAGE) as usize;
        let listing::Page { objects, prefixes, next } =
            listing::page(entries, &prefix, input.delimiter.as_deref(), after, most);
        let contents: Vec<Object> =
            blocking(move || Ok(objects.into_iter().filter_map(object).collect())).await?;
        let prefixes = prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(prefix) });
        let prefixes: Vec<_> = prefixes.collect();
        Ok(S3Response::new(ListObjectsV2Output {
            key_count: Some((contents.len() + prefixes.len()) as i32),
            max_keys: Some(most as i32),
            is_truncated: Some(next.is_some()),
            next_continuation_token: next,
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            continuation_token: input.continuation_token,
            start_after: input.start_after,
            delimiter: input.delimiter,
            name: Some(input.bucket),
            prefix: input.prefix,
            ..Default::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        mut request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let key = request.input.key.clone();
        request.input.key = self.new_place(&request.input.bucket, &key, UPLOAD_ROOM).await?;
        let mut begun = self.files.create_multipart_upload(request).await?;
        begun.output.key = Some(key);
        Ok(begun)
    }

    async fn upload_part(
        &self,
        mut request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        self.check_upload(&request.input.upload_id)?;
        request.input.key = self.place(&request.input.bucket, &request.input.key);
        request.input.body = request.input.body.map(Gathered::of);
        self.files.upload_part(request).await
    }

    async fn list_parts(
        &self,
        mut request: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        request.input.key = self.place(&request.input.bucket, &request.input.key);
        self.files.list_parts(request).await
    }

    async fn complete_multipart_upload(
        &self,
        mut request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        self.check_upload(&request.input.upload_id)?;
        request.input.key = self.place(&request.input.bucket, &request.input.key);
        let _used = self.tidy.using(&self.bucket(&request.input.bucket).join(&request.input.key));
        let _turn = self.turns.take(&request.input.bucket, &request.input.key).await;
        self.files.complete_multipart_upload(request).await
    }

    async fn abort_multipart_upload(
        &self,
        mut request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.check_upload(&request.input.upload_id)?;
        request.input.key = self.place(&request.input.bucket, &request.input.key);
        self.files.abort_multipart_upload(request).await
    }

    /// All of them on one page.
    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let ListMultipartUploadsInput { bucket, prefix, .. } = request.input;
        if !self.bucket(&bucket).is_dir() {
            return Err(s3_error!(NoSuchBucket));
        }
        let (root, long) = (self.root.clone(), Arc::clone(&self.long));
        let listed = blocking(move || uploads::list(&root, bucket, prefix, &long)).await?;
        Ok(S3Response::new(listed))
    }
}

/// What a list says of an object; none if it is gone meanwhile.
fn object(entry: Entry) -> Option<Object> {
    let about = std::fs::metadata(&entry.path).ok()?;
    Some(Object {
        key: Some(entry.key),
        last_modified: about.modified().ok().map(Into::into),
        size: Some(about.len() as i64),
        ..Default::default()
    })
}
