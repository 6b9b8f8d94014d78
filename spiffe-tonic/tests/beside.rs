//! What tonic has for its own servers stands beside a service of ours: health and reflection.
#![expect(clippy::disallowed_methods, reason = "a task ends with its test")]

use spiffe_core::SourceExt;
use spiffe_core::authorizer::anyone;
use spiffe_core::testing::TestAuthority;
use spiffe_tonic::RouterExt;
use tonic::transport::Server;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

#[tokio::test]
async fn health_and_reflection_are_served_over_mutual_tls() {
    let ca = TestAuthority::new("a.test");
    let (told, health) = tonic_health::server::health_reporter();
    told.set_service_status("ledger", tonic_health::ServingStatus::Serving)
        .await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .unwrap();
    let addr = ([127, 0, 0, 1], 0).into();
    let incoming = spiffe_tonic::incoming(addr, ca.source("/server").server(anyone())).await;
    let incoming = incoming.unwrap();
    let uri = format!("https://{}", incoming.local_addr().unwrap());
    let router = Server::builder()
        .add_service(health)
        .add_service(reflection);
    tokio::spawn(router.serve_mtls_with_incoming(incoming, std::future::pending()));

    let channel = spiffe_tonic::channel(&uri, ca.source("/web").client(anyone())).await;
    let channel = channel.unwrap();
    let ask = HealthCheckRequest {
        service: "ledger".to_owned(),
    };
    let answer = HealthClient::new(channel.clone()).check(ask).await.unwrap();
    assert_eq!(
        answer.get_ref().status(),
        tonic_health::pb::health_check_response::ServingStatus::Serving
    );

    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(channel);
    let answers = client
        .server_reflection_info(tokio_stream::once(list))
        .await;
    let answer = answers.unwrap().into_inner().message().await.unwrap();
    let Some(MessageResponse::ListServicesResponse(services)) = answer.unwrap().message_response
    else {
        panic!("another answer than was asked for");
    };
    let names: Vec<_> = services.service.iter().map(|one| &*one.name).collect();
    assert!(names.contains(&"grpc.health.v1.Health"), "{names:?}");
}
