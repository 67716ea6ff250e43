//! What the router does not look at. Alone in its file: the counter belongs to the process.

mod support;

use coati_server::{
    Server,
    router::{Limits, Open},
};
use serde_json::json;
use shared::wamp::payload_decodes;
use support::{private, raw::Raw};

#[tokio::test]
async fn a_payload_between_peers_of_one_codec_is_never_decoded() {
    let builder = Server::builder().config(private()).authorizer(Box::new(Open));
    let server = builder
        .role_limits("anonymous", Limits::COMPONENT)
        .start()
        .await
        .expect("the server starts");
    let (mut caller, mut callee) = (Raw::anonymous(&server).await, Raw::anonymous(&server).await);
    assert_eq!(callee.ask(json!([64, 1, {}, "echo"])).await[0], 65);
    assert_eq!(callee.ask(json!([32, 2, {}, "news"])).await[0], 33);
    let before = payload_decodes();
    let kibibyte = "ä\u{1F99D}\"\\".repeat(1024 / 8);
    for request in 1..=50 {
        caller
            .send(json!([48, 2 * request - 1, {}, "echo", [kibibyte], {"n": request}]))
            .await;
        let invocation = callee.next().await.message();
        assert_eq!(
            (&invocation[4][0], &invocation[5]["n"]),
            (&json!(kibibyte), &json!(request))
        );
        callee
            .send(json!([70, invocation[1], {}, invocation[4], invocation[5]]))
            .await;
        let result = caller.next().await.message();
        assert_eq!(
            (&result[0], &result[3][0], &result[4]["n"]),
            (&json!(50), &json!(kibibyte), &json!(request))
        );
        caller.send(json!([16, 2 * request, {}, "news", [kibibyte]])).await;
        assert_eq!(callee.next().await.message()[4][0], kibibyte.as_str());
    }
    assert_eq!(payload_decodes() - before, 0);
    server.stop().await;
}
