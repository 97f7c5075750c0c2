import Foundation
import Synchronization
import Testing

@testable import WebSocketKitLite

@Suite("TLS sessions and certificates", .timeLimit(.minutes(1)))
struct TLSSessionTests {
    private let certificates: TestCertificates

    init() throws {
        certificates = try TestCertificates.shared.get()
    }

    private func dialer(_ configure: (inout TLSConfiguration) -> Void = { _ in }) throws -> Dialer {
        try makeDialer {
            $0.tls.systemRoots = false
            $0.tls.caFile = certificates.authority
            configure(&$0.tls)
        }
    }

    /// One request on a connection of its own, and what its handshake came to.
    private func get(_ server: OpenSSLServer, _ dialer: Dialer, host: String = "localhost") async throws -> TLSSummary {
        let summary = Mutex<TLSSummary?>(nil)
        let response = try await HTTPExchange.perform(
            HTTPExchange.Request(
                method: "GET",
                endpoint: Endpoint(scheme: .https, host: host, port: server.port)
            ),
            dialer: dialer,
            observer: { event in
                if case .secured(let secured, _) = event { summary.withLock { $0 = secured } }
            }
        )
        #expect(response.status == 200)
        return try #require(summary.withLock { $0 })
    }

    @Test("resumes the session of the connection before", arguments: ["-tls1_3", "-tls1_2"])
    func resumption(version: String) async throws {
        let server = try OpenSSLServer(certificate: "good", in: certificates, options: [version])
        let dialer = try dialer()
        let first = try await get(server, dialer)
        #expect(!first.isResumed)
        #expect(!first.chain.isEmpty)
        for _ in 0..<3 {
            let next = try await get(server, dialer)
            #expect(next.isResumed)
            #expect(next.certificate?.names == first.certificate?.names)
        }
        let other = try await get(server, try self.dialer())
        #expect(!other.isResumed, "a session belongs to its dialer")
        let address = try await get(server, dialer, host: "127.0.0.1")
        #expect(!address.isResumed, "a session belongs to the name it was verified for")
    }

    @Test("a session resumes under a pin that was found when it was made, and none is kept where it was not")
    func pinnedResumption() async throws {
        let server = try OpenSSLServer(certificate: "good", in: certificates, options: ["-tls1_2"])
        let authorityPin = try certificates.pin("ca")
        let pinned = try dialer { $0.pinSHA256 = [authorityPin] }
        #expect(try await !get(server, pinned).isResumed)
        #expect(try await get(server, pinned).isResumed)
        let otherPin = try certificates.pin("wrong")
        let wrong = try dialer { $0.pinSHA256 = [otherPin] }
        for _ in 0..<2 {
            let error = await webSocketError { try await get(server, wrong) }
            #expect(error?.code == .tlsPinMismatch)
        }
    }

    @Test("a session outlives neither its certificate nor its place in the cache")
    func ticketsEnd() async throws {
        let server = try OpenSSLServer(certificate: "good", in: certificates)
        let dialer = try dialer()
        _ = try await get(server, dialer)
        let cache = try #require(await dialer.sessions)
        let afterTheEnd: Int64 = 4_102_444_800  // 2100-01-01, a day after the certificate's last
        #expect(cache.take(for: "localhost", at: afterTheEnd) == nil)
        #expect(cache.take(for: "localhost", at: 1_767_225_600) == nil, "an expired one is not kept for later")
    }

    @Test("tells what the certificate is, and until when")
    func summary() async throws {
        let server = try OpenSSLServer(certificate: "good", in: certificates)
        let summary = try await get(server, try dialer(), host: "127.0.0.1")
        #expect(summary.version == "TLSv1.3")
        #expect(summary.name == "127.0.0.1")
        #expect(summary.certificate?.names == ["localhost", "127.0.0.1", "::1"])
        #expect(summary.certificate?.subject == "CN=good")
        #expect(summary.certificate?.issuer == "CN=Test ca")
        #expect(summary.certificate?.notAfter == 4_102_358_400)
        #expect(summary.chain == ["CN=good", "CN=Test ca"])
        #expect(summary.certificate?.publicKeyPin == "sha256/\(try base64(ofHexadecimal: certificates.pin("good")))")
    }

    private func base64(ofHexadecimal text: String) throws -> String {
        Base64.encode(try #require(PublicKeyPin(text)).digest)
    }

    @Test(
        "says what is wrong with a certificate in a way that can be acted on",
        arguments: [
            ("good", "other-ca", "(CN=Test ca); pass --ca-file"),
            ("wrong", "ca", "is for elsewhere.example, 192.0.2.1 and not for localhost"),
            ("expired", "ca", "expired on 2020-02-01 00:00 UTC, "),
            ("future", "ca", "is valid from 2098-01-01 00:00 UTC on, and this machine's clock says 20"),
        ]
    )
    func messages(name: String, authority: String, expected: String) async throws {
        let server = try OpenSSLServer(certificate: name, in: certificates)
        let error = await webSocketError {
            try await get(server, try dialer { $0.caFile = certificates.certificate(authority) })
        }
        #expect(error?.message.contains(expected) == true, "\(String(describing: error))")
        #expect(error?.phase == .tls)
        let gap = Duration.seconds(4_039_372_800 - Int64(time(nil)))
        switch name {
        case "future": #expect(abs((error?.clockGap ?? .zero) / .seconds(1) - gap / .seconds(1)) < 120)
        case "expired": #expect(error?.clockGap ?? .zero > .seconds(86_400))
        default: #expect(error?.clockGap == nil)
        }
    }

    @Test("shows a client certificate where one is asked for", arguments: ["-tls1_3", "-tls1_2"])
    func clientCertificate(version: String) async throws {
        let options = [version, "-Verify", "1", "-verify_return_error", "-CAfile", certificates.authority]
        let server = try OpenSSLServer(certificate: "good", in: certificates, options: options)
        let known = try dialer {
            $0.clientCertificateFile = certificates.certificate("client")
            $0.clientKeyFile = certificates.key("client")
        }
        #expect(try await get(server, known).version == (version == "-tls1_3" ? "TLSv1.3" : "TLSv1.2"))
        // TLS 1.2 has no alert that says so; there the message names the alert it has.
        let nobody = await webSocketError { try await get(server, try dialer()) }
        if version == "-tls1_3" {
            #expect(nobody?.code == .tlsClientCertificate, "\(String(describing: nobody))")
            #expect(nobody?.message.contains("--client-cert") == true)
            #expect(nobody?.isRetryable == false)
        } else {
            #expect(nobody?.code == .tlsHandshake, "\(String(describing: nobody))")
        }
        let stranger = await webSocketError {
            try await get(
                server,
                try dialer {
                    $0.clientCertificateFile = certificates.certificate("other-ca")
                    $0.clientKeyFile = certificates.key("other-ca")
                }
            )
        }
        #expect(stranger?.code == .tlsClientCertificate, "\(String(describing: stranger))")
    }

    @Test("refuses a client key that is encrypted, of another certificate, or missing, and says which")
    func clientKeys() throws {
        for (certificate, key, expected) in [
            ("client", certificates.key("encrypted"), "is encrypted"),
            ("client", certificates.key("good"), "does not belong to the certificate"),
            ("client", "/nonexistent/key", "no client key could be read from /nonexistent/key"),
            ("client", certificates.certificate("good"), "no client key could be read from"),
            ("client", nil, "no client key could be read from"),
            ("missing", nil, "no client certificate could be read from"),
            (nil, certificates.key("client"), "no certificate"),
        ] as [(String?, String?, String)] {
            var configuration = TLSConfiguration()
            configuration.clientCertificateFile = certificate.map(certificates.certificate)
            configuration.clientKeyFile = key
            #expect {
                try TLSContext(configuration)
            } throws: { error in
                guard let error = error as? WebSocketError else { return false }
                return error.code == .tlsConfiguration && error.phase == .tls && error.message.contains(expected)
            }
        }
    }

    @Test("dates and lengths of time read well")
    func dates() {
        #expect(CertificateDate.text(0) == "1970-01-01 00:00 UTC")
        #expect(CertificateDate.text(1_795_498_380) == "2026-11-24 05:33 UTC")
        for (seconds, text) in [(40, "40 s"), (600, "10 min"), (18_720, "5 h 12 min"), (259_200, "3 days")] {
            #expect(CertificateDate.text(.seconds(seconds)) == text)
        }
    }
}
