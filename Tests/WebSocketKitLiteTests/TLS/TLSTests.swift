import Foundation
import Testing

@testable import WebSocketKitLite

@Suite("TLS against OpenSSL's own server")
struct TLSTests {
    let certificates: TestCertificates

    init() throws {
        certificates = try TestCertificates.shared.get()
    }

    private func get(
        _ server: OpenSSLServer,
        host: String = "localhost",
        _ configure: @escaping (inout TLSConfiguration) -> Void
    ) async throws -> HTTPExchange.Response {
        let dialer = try makeDialer {
            $0.tls.systemRoots = false
            configure(&$0.tls)
        }
        let endpoint = Endpoint(scheme: .https, host: host, port: server.port)
        return try await HTTPExchange.perform(HTTPExchange.Request(method: "GET", endpoint: endpoint), dialer: dialer)
    }

    @Test(
        "trusts a certificate by its authority, for a name and for an address",
        arguments: ["localhost", "127.0.0.1"]
    )
    func goodAuthority(host: String) async throws {
        let server = try OpenSSLServer(certificate: "good", in: certificates)
        let response = try await get(server, host: host) { $0.caFile = certificates.authority }
        #expect(response.status == 200)
        #expect(String(decoding: response.body, as: UTF8.self).contains("s_server"))
    }

    @Test("takes the authority as text as well")
    func authorityAsText() async throws {
        let server = try OpenSSLServer(certificate: "good", in: certificates)
        let pem = try String(contentsOfFile: certificates.authority, encoding: .utf8)
        let response = try await get(server) { $0.caPEM = pem }
        #expect(response.status == 200)
    }

    @Test("speaks TLS 1.2 with a server that knows no newer version")
    func oldVersion() async throws {
        let server = try OpenSSLServer(certificate: "good", in: certificates, options: ["-tls1_2"])
        let response = try await get(server) { $0.caFile = certificates.authority }
        #expect(response.status == 200)
    }

    @Test(
        "tells the certificate problems apart",
        arguments: [
            ("good", "other-ca", "localhost", WebSocketError.Code.tlsUnknownAuthority),
            ("wrong", "ca", "localhost", .tlsNameMismatch),
            ("wrong", "ca", "127.0.0.1", .tlsNameMismatch),
            ("localhost", "ca", "localhost", .tlsNameMismatch),
            ("expired", "ca", "localhost", .tlsExpired),
            ("future", "ca", "localhost", .tlsNotYetValid),
        ]
    )
    func problems(name: String, authority: String, host: String, code: WebSocketError.Code) async throws {
        let server = try OpenSSLServer(certificate: name, in: certificates)
        let error = await webSocketError {
            try await get(server, host: host) { $0.caFile = certificates.certificate(authority) }
        }
        #expect(error?.code == code)
    }

    @Test("does not trust an unknown authority through the system's roots either, and says what to do")
    func systemRoots() async throws {
        let server = try OpenSSLServer(certificate: "good", in: certificates)
        let error = await webSocketError { try await get(server) { $0.systemRoots = true } }
        #expect(error?.code == .tlsUnknownAuthority)
        #expect(error?.message.contains("--ca-file") == true)
        #expect(error?.isRetryable == false)
    }

    @Test("checks a pin besides the authority, or alone, and always refuses another key")
    func pins() async throws {
        let options = ["-cert_chain", certificates.authority]
        let server = try OpenSSLServer(certificate: "good", in: certificates, options: options)
        let pin = try certificates.pin("good")
        let authorityPin = try certificates.pin("ca")
        let otherPin = try certificates.pin("wrong")
        for (useAuthority, pins, isGood) in [
            (true, [pin], true), (true, [otherPin, authorityPin], true), (true, [otherPin], false),
            (false, [pin], true), (false, [otherPin], false),
            // Without a verified chain, an authority's key proves nothing about this server.
            (false, [authorityPin], false),
        ] {
            let error = await webSocketError {
                try await get(server) {
                    $0.caFile = useAuthority ? certificates.authority : nil
                    $0.pinSHA256 = pins
                }
            }
            #expect(error?.code == (isGood ? nil : .tlsPinMismatch))
        }
    }

    @Test("reads pins in hexadecimal and Base64 and refuses anything else")
    func pinForms() throws {
        let digest = [UInt8](0..<32)
        let hexadecimal = digest.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        let base64 = Base64.encode(digest)
        for text in [hexadecimal, hexadecimal.uppercased(), base64, "sha256/" + base64, " sha256:\(hexadecimal) "] {
            #expect(PublicKeyPin(text)?.digest == digest, "\(text)")
        }
        for text in ["", "abc", String(hexadecimal.dropLast()), "+" + hexadecimal.dropFirst(), base64 + "="] {
            #expect(PublicKeyPin(text) == nil, "\(text)")
        }
    }

    @Test("refuses settings that trust nobody, and files that hold no certificate")
    func configuration() throws {
        for configure in [
            { $0.systemRoots = false }, { $0.caFile = "/nonexistent/ca.pem" }, { $0.caPEM = "no certificate" },
            { $0.pinSHA256 = ["12"] },
        ] as [@Sendable (inout TLSConfiguration) -> Void] {
            var configuration = TLSConfiguration()
            configure(&configuration)
            #expect {
                try TLSContext(configuration)
            } throws: { error in
                (error as? WebSocketError)?.code == .tlsConfiguration
            }
        }
    }

    @Test("says so when the server does not speak TLS")
    func plainServer() async throws {
        let server = try TestListener { connection in
            _ = connection.read()
            connection.write("HTTP/1.1 400 Bad Request\r\n\r\n")
        }
        let dialer = try makeDialer()
        let error = await webSocketError {
            try await dialer.dial(Endpoint(scheme: .wss, host: "127.0.0.1", port: server.port))
        }
        #expect(error?.code == .tlsHandshake)
        #expect(error?.message.contains("does not speak TLS") == true)
    }

    @Test("gives up on a server that accepts and then says nothing")
    func silentServer() async throws {
        let server = try TestListener { connection in while !connection.read().isEmpty {} }
        let dialer = try makeDialer { $0.tlsTimeout = .milliseconds(50) }
        let error = await webSocketError {
            try await dialer.dial(Endpoint(scheme: .wss, host: "127.0.0.1", port: server.port))
        }
        #expect(error?.code == .timeout)
        #expect(error?.phase == .tls)
    }
}
