use super::*;
use serde_json::json;

impl EnvoyContext {
    /// A clone: the sandbox, three services on this machine, and an open hook for the demonstration.
    pub(in crate::render) fn development() -> Self {
        let hook = |name: &str, path: &str, trust, result_url, quarantine: &str| HookContext {
            name: name.to_owned(),
            path: path.to_owned(),
            service_path: path.trim_end_matches("/{token}").to_owned(),
            source: json!(["127.0.0.0/8", "::1"]),
            trust,
            result_url,
            quarantine: quarantine.to_owned(),
            closed_route: if quarantine == "none" {
                "not-judged".to_owned()
            } else {
                format!("not-judged-{name}")
            },
            is_demonstration: quarantine == "none",
        };
        let service = |cluster, events, port| ServiceContext {
            cluster,
            events,
            address: "127.0.0.1".to_owned(),
            port,
            is_name: false,
            rewrite: None,
            tls: None,
        };
        let completed = service("video_service", "completed", 9081);
        let failed = service("failure_service", "failed, timeout", 9082);
        let quarantined = service("quarantine_service", "quarantined", 9083);
        Self {
            development: true,
            setup_file: String::new(),
            secrets_env: SECRETS_ENV,
            edge: EdgeContext { address: IpAddr::from([127, 0, 0, 1]), port: 8443, both_families: false },
            admin_socket: "./run/admin.sock".to_owned(),
            admin_socket_argument: "run/admin.sock".to_owned(),
            health_log: "./run/health.log".to_owned(),
            health_log_argument: "run/health.log".to_owned(),
            module: ModuleContext {
                is_native: false,
                file: "./target/wasm32-wasip1/release/blobgate.wasm".to_owned(),
            },
            envoys: tested_envoys(ModuleKind::Wasm),
            variables: vec!["BLOBGATE_TOKEN_KEY".to_owned(), "BLOBGATE_SIGNING_KEY".to_owned()],
            environment: "development".to_owned(),
            hooks: vec![
                hook("veo3", "/webhook", json!("open"), json!("any"), "none"),
                hook(
                    "veo3-token",
                    "/hooks/veo3/{token}",
                    json!({"any_of": ["token", "confirmed"]}),
                    json!(["runblob.io", "*.runblob.io"]),
                    "route",
                ),
            ],
            token_keys: Some(json!({"dev": {"alg": "HS256", "env": "BLOBGATE_TOKEN_KEY"}})),
            signing_keys: vec!["BLOBGATE_SIGNING_KEY".to_owned()],
            provider: Some(ProviderContext {
                authority: PROVIDER,
                is_sandbox: true,
                is_name: false,
                address: "127.0.0.1".to_owned(),
                port: 9443,
                tls: TlsContext::new(&SetupHost::Name("localhost".to_owned()), "./certs/edge.pem".to_owned()),
            }),
            services: ServicesContext {
                all: vec![completed.clone(), failed.clone(), quarantined.clone()],
                completed,
                failed,
                quarantined: Some(quarantined),
            },
            ports: PortsContext { services: 8090, metrics: 9901, inbox: 9084, admin: 9085, access_log: 9087 },
        }
    }
}
