//! `/api/channels/{id}/voice…`

use axum::extract::State;
use http::StatusCode;
use patchbay_core::{ChannelId, UserId};
use patchbay_protocol::{List, UpdateVoiceParticipant, VoiceParticipant};

use super::{
    Failure,
    extract::{As, Id, Json, PageParams, Params},
    openapi::Document,
};
use crate::{app::App, gateway::voice_participant};

type Answer<T> = Result<T, Failure>;

pub(super) async fn list(
    State(app): State<App>,
    As(actor): As,
    Id(id): Id<i64>,
    Params(params): Params<PageParams>,
) -> Answer<axum::Json<List<VoiceParticipant>>> {
    let page = app.ops.voice_participants(&actor, ChannelId(id), params.request()?).await?;
    let items = page.items.iter().map(voice_participant).collect();
    Ok(axum::Json(List { items, has_more: page.has_more, extensions_omitted: Vec::new() }))
}

pub(super) async fn update(
    State(app): State<App>,
    As(actor): As,
    Id((id, user_id)): Id<(i64, i64)>,
    Json(body): Json<UpdateVoiceParticipant>,
) -> Answer<axum::Json<VoiceParticipant>> {
    let to = body.channel_id.map(ChannelId);
    let view = app.ops.moderate_voice(&actor, ChannelId(id), UserId(user_id), body.muted, to).await?;
    Ok(axum::Json(voice_participant(&view)))
}

pub(super) async fn remove(
    State(app): State<App>,
    As(actor): As,
    Id((id, user_id)): Id<(i64, i64)>,
) -> Answer<StatusCode> {
    app.ops.remove_from_voice(&actor, ChannelId(id), UserId(user_id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// These endpoints in the document.
pub(super) fn describe(doc: &mut Document) {
    doc.tag(
        "Voice",
        "Voice channels (`is_vc`): sound goes by WebRTC, what is said about it by `/ws/voice/{channel_id}`. Members can join, \
         and everybody where the channel is public.",
    );
    doc.get("/api/channels/{id}/voice", list)
        .says(
            "List who is in a voice channel",
            "By rising participant id, which is the order of their coming.",
        )
        .refuses(404, &["channel_not_found"]);
    doc.change("/api/channels/{id}/voice/{user_id}", update)
        .says(
            "Mute or move somebody in a voice channel",
            "For the channel's admins. `muted` holds until the room is empty. `channel_id` sends the user to another voice \
             channel that both may join: the user's socket gets `ended` with it, and the client goes there.",
        )
        .refuses(403, &["forbidden"])
        .refuses(404, &["channel_not_found", "voice_participant_not_found"])
        .refuses(409, &["not_a_voice_channel"]);
    doc.delete("/api/channels/{id}/voice/{user_id}", remove)
        .says("Take somebody out of a voice channel", "For the channel's admins; oneself: leave.")
        .refuses(403, &["forbidden"])
        .refuses(404, &["channel_not_found", "voice_participant_not_found"])
        .refuses(409, &["not_a_voice_channel"]);
}
