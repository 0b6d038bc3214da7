//! Documents that providers ask for: business licences, powers of attorney. The gateway passes them on and keeps nothing.

use axum::{
    Json,
    extract::{Request, State},
    http::{StatusCode, header},
};

use super::{ID_LENGTH, LINE_LENGTH, NAME_LENGTH, Place, ask, managed, multipart};
use crate::{
    api::{
        auth::{OperatorMayRead, OperatorMayWrite},
        error::ApiError,
        field_reader::Problems,
        json_body,
        openapi::{ChangeProblems, ProviderProblems, ReadProblems},
        path::Name,
        problem::{FieldError, ProblemCode},
        state::ApiState,
    },
    domain::registration::{FileUpload, ProviderFile},
};

/// Bytes of a document with what stands around it.
pub const FILE_LIMIT: usize = 8 * 1024 * 1024;

/// What an upload is made of.
#[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
#[expect(dead_code, reason = "describes a body that is read by hand")]
pub struct FileForm {
    /// The document, with its name.
    #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
    file: String,
    /// What it is.
    #[schema(max_length = 1024, nullable = false)]
    description: Option<String>,
}

/// Upload a supporting document
///
/// A business licence or a power of attorney, at most 8 MiB.
#[utoipa::path(
    post, path = "/v1/providers/{provider}/files", operation_id = "uploadProviderFile", tag = "Provider registrations",
    params(("provider" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$")),
    request_body(content = FileForm, content_type = "multipart/form-data"),
    responses((status = 201, description = "Uploaded.", body = ProviderFile), ChangeProblems, ProviderProblems),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn upload(
    State(state): State<ApiState>,
    _: OperatorMayWrite,
    Name(provider): Name,
    request: Request,
) -> Result<(StatusCode, Json<ProviderFile>), ApiError> {
    let registrations = managed(&state, &provider)?;
    let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let boundary = media_type.and_then(multipart::boundary);
    let boundary = boundary.ok_or(ApiError::UnsupportedMediaType("Send `Content-Type: multipart/form-data`."))?;
    let body = json_body::read(request, FILE_LIMIT).await?;
    let file = read(multipart::parts(&body, &boundary)?)?;
    let uploaded = ask(&provider, registrations.upload_file(&file)).await?;
    Ok((StatusCode::CREATED, Json(uploaded)))
}

/// Read what is known of an uploaded document
#[utoipa::path(
    get, path = "/v1/providers/{provider}/files/{file_id}", operation_id = "getProviderFile", tag = "Provider registrations",
    params(
        ("provider" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$"),
        ("file_id" = String, Path, min_length = 1, max_length = 128),
    ),
    responses((status = 200, description = "The document's data.", body = ProviderFile), ReadProblems, ProviderProblems),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn get(
    State(state): State<ApiState>,
    _: OperatorMayRead,
    Place { provider, id }: Place,
) -> Result<Json<ProviderFile>, ApiError> {
    ask(&provider, managed(&state, &provider)?.file(&id)).await.map(Json)
}

fn read(parts: Vec<multipart::Part>) -> Result<FileUpload, ApiError> {
    let mut problems = Problems::default();
    let (mut file, mut description) = (None, None);
    for part in parts {
        let pointer = format!("/{}", part.name.chars().take(ID_LENGTH).collect::<String>());
        let mut fault = |code, detail: &str| problems.push(FieldError::at(pointer.as_str(), code, detail));
        match part.name.as_str() {
            "file" if file.is_some() => fault(ProblemCode::Duplicate, "The part may stand only once."),
            "file" if part.content.is_empty() => fault(ProblemCode::Invalid, "The document is empty."),
            "file" => {
                let name = part.file_name.filter(|name| !name.is_empty()).unwrap_or_else(|| "file".to_owned());
                file = Some((name.chars().take(NAME_LENGTH).collect::<String>(), part.media_type, part.content));
            }
            "description" if description.is_some() => fault(ProblemCode::Duplicate, "The part may stand only once."),
            "description" => match std::str::from_utf8(&part.content) {
                Ok(text) if text.contains('\0') => fault(ProblemCode::Invalid, "U+0000 is not taken."),
                Ok(text) if text.chars().count() <= LINE_LENGTH => description = Some(text.to_owned()),
                Ok(_) => fault(ProblemCode::TooLong, "At most 1024 characters."),
                Err(_) => fault(ProblemCode::Invalid, "A text in UTF-8 is expected."),
            },
            _ => fault(ProblemCode::UnknownField, "The part is not known."),
        }
    }
    if file.is_none() && problems.is_empty() {
        problems.push(FieldError::at("/file", ProblemCode::Required, "The part is missing."));
    }
    problems.check()?;
    let (name, media_type, content) = file.ok_or_else(|| ApiError::internal("a missing part was not noted"))?;
    let description = description.filter(|text| !text.is_empty());
    Ok(FileUpload { name, media_type, description, content })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn part(name: &str, content: &[u8]) -> multipart::Part {
        let content = Bytes::copy_from_slice(content);
        multipart::Part { name: name.into(), file_name: Some("a.png".into()), media_type: None, content }
    }

    #[test]
    fn a_document_and_its_description_are_read() {
        let file = read(vec![part("description", b"licence"), part("file", b"\0\x01")]).unwrap();
        assert_eq!((file.name.as_str(), file.description.as_deref()), ("a.png", Some("licence")));
        assert_eq!(&file.content[..], b"\0\x01");
    }

    #[test]
    fn what_is_missing_doubled_unknown_or_empty_is_told() {
        for (parts, code) in [
            (vec![], ProblemCode::Required),
            (vec![part("file", b"")], ProblemCode::Invalid),
            (vec![part("file", b"a"), part("file", b"b")], ProblemCode::Duplicate),
            (vec![part("file", b"a"), part("other", b"b")], ProblemCode::UnknownField),
            (vec![part("file", b"a"), part("description", b"\xff")], ProblemCode::Invalid),
            (vec![part("file", b"a"), part("description", &[b'x'; 1025])], ProblemCode::TooLong),
        ] {
            assert_eq!(read(parts).unwrap_err().code(), code);
        }
    }
}
