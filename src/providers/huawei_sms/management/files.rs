//! `upload-files`: business licences and powers of attorney.
//! <https://support.huaweicloud.com/intl/en-us/api-msgsms/sms_05_0025.html>

use bytes::{BufMut, Bytes, BytesMut};
use reqwest::Method;

use super::{Management, Request, Subject, fault, fields::Fields};
use crate::{
    domain::registration::{FileUpload, ProviderFile},
    providers::registrations::{RegistrationError, RegistrationErrorKind},
};

pub(super) async fn upload(management: &Management, file: &FileUpload) -> Result<ProviderFile, RegistrationError> {
    let boundary = format!("{:032x}", rand::random::<u128>());
    let mut request = Request::new(Subject::File, Method::POST, ["upload-files"]);
    request.query = file.description.clone().map(|description| ("file_desc", description)).into_iter().collect();
    request.content_type = format!("multipart/form-data; boundary={boundary}");
    request.body = form(file, &boundary);
    let read = read(Fields::of(management.call(request).await?)?)?;
    let size = read.size.or(u64::try_from(file.content.len()).ok());
    Ok(ProviderFile {
        name: read.name.or_else(|| Some(file.name.clone())),
        size,
        description: read.description.or_else(|| file.description.clone()),
        ..read
    })
}

pub(super) async fn get(management: &Management, id: &str) -> Result<ProviderFile, RegistrationError> {
    let request = Request::get(Subject::File, ["upload-files"]).query(vec![("file_id", id.to_owned())]);
    let answer = management.call(request).await?;
    // Asked with a query and not by a path, so that what is not there may come as nothing.
    if answer.is_null() || answer.as_object().is_some_and(serde_json::Map::is_empty) {
        return Err(RegistrationError::new(RegistrationErrorKind::NotFound));
    }
    read(Fields::of(answer)?)
}

/// One part, `file`. The boundary is random, so that the content cannot hold it.
fn form(file: &FileUpload, boundary: &str) -> Bytes {
    // Without a quote, a backslash or a line end nothing can leave the name's place.
    let name: String =
        file.name.chars().map(|c| if c.is_control() || matches!(c, '"' | '\\') { '_' } else { c }).collect();
    let media_type = file.media_type.as_deref().filter(|media_type| is_media_type(media_type));
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: {}\r\n\r\n",
        media_type.unwrap_or("application/octet-stream")
    );
    let mut body = BytesMut::with_capacity(head.len() + file.content.len() + boundary.len() + 8);
    body.put(head.as_bytes());
    body.put(&file.content[..]);
    body.put(format!("\r\n--{boundary}--\r\n").as_bytes());
    body.freeze()
}

fn is_media_type(text: &str) -> bool {
    text.len() <= 100 && text.contains('/') && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

fn read(mut fields: Fields) -> Result<ProviderFile, RegistrationError> {
    Ok(ProviderFile {
        id: fields.text("file_id").ok_or_else(fault::unreadable)?,
        name: fields.text("file_name"),
        size: fields.number("file_size"),
        description: fields.text("file_desc"),
        updated_at: fields.time("update_time"),
        native: fields.rest(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_name_nor_a_media_type_can_break_out_of_its_header() {
        let file = FileUpload {
            name: "a\"\r\nX: y\\.png".to_owned(),
            media_type: Some("image/png\r\nX: y".to_owned()),
            description: None,
            content: Bytes::from_static(b"\x00\r\n--"),
        };
        let expected = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a___X: y_.png\"\r\n\
                        Content-Type: application/octet-stream\r\n\r\n\0\r\n--\r\n--B--\r\n";
        assert_eq!(form(&file, "B"), expected);
    }
}
