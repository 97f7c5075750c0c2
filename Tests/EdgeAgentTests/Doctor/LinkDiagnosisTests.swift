import Foundation
import Testing
import WebSocketKitLite

@testable import EdgeAgent

@Suite("What the doctor makes of a connection")
struct LinkDiagnosisTests {
    private func statuses(_ checks: [DoctorCheck]) -> [String] {
        checks.map { "\($0.name.rawValue) \($0.status.rawValue)" }
    }

    private func started() throws -> LinkDiagnosis {
        var diagnosis = LinkDiagnosis(unixSeconds: 0)
        diagnosis.note(.settings, .ok, "settings")
        diagnosis.note(.policy, .ok, "policy")
        return diagnosis
    }

    private func route(_ policy: ProxyPolicy) throws -> DialEvent {
        .route(try policy.choice(for: Endpoint("wss://hub.example")))
    }

    @Test("names every step of a direct connection, each once and in order")
    func direct() throws {
        var diagnosis = try started()
        diagnosis.take(try route(.direct))
        diagnosis.take(.resolved(host: "hub.example", addresses: ["192.0.2.7", "2001:db8::7"], took: .milliseconds(3)))
        diagnosis.take(.attemptFailed(address: "192.0.2.7:443", WebSocketError(.tcpRefused, "refused")))
        diagnosis.take(.connected(address: "[2001:db8::7]:443", took: .microseconds(12_340)))
        diagnosis.take(.upgraded(subprotocol: "edge.v1", took: .milliseconds(5)))
        let checks = diagnosis.takeChecks()
        #expect(
            statuses(checks) == [
                "settings ok", "policy ok", "dns ok", "tcp ok", "proxy skipped", "tls skipped", "http ok",
            ]
        )
        #expect(checks[2].detail == "hub.example is 192.0.2.7, 2001:db8::7 (3.0 ms)")
        #expect(checks[3].detail == "connected to [2001:db8::7]:443 in 12.3 ms; 192.0.2.7:443 failed (tcp_refused)")
        #expect(diagnosis.takeChecks().isEmpty)
    }

    @Test("speaks of the proxy where there is one, and never of its password")
    func proxied() throws {
        var diagnosis = try started()
        let proxy = try Proxy("http://ada:hunter2@proxy.example:3128")
        diagnosis.take(try route(.fixed(proxy)))
        diagnosis.take(.resolved(host: "proxy.example", addresses: ["192.0.2.1"], took: .zero))
        diagnosis.take(.connected(address: "192.0.2.1:3128", took: .zero))
        diagnosis.take(.tunnelled(proxy, took: .zero))
        let checks = diagnosis.takeChecks()
        #expect(statuses(checks) == ["settings ok", "policy ok", "dns ok", "tcp ok", "proxy ok"])
        #expect(checks[2].detail == "the proxy proxy.example is 192.0.2.1 (0.0 ms)")
        #expect(checks[4].detail == "through http://proxy.example:3128 (set explicitly) in 0.0 ms")
        #expect(!checks.contains { $0.detail.contains("hunter2") })
    }

    @Test(
        "a failure stands on its own line, and everything after it is skipped",
        arguments: [
            (WebSocketError(.dnsNotFound, "m"), DoctorCheck.Name.dns),
            (WebSocketError(.tcpRefused, "m", phase: .tcp), .tcp),
            (WebSocketError(.timeout, "m", phase: .tcp), .tcp),
            (WebSocketError(.proxyUnreachable, "m", phase: .dns), .dns),
            (WebSocketError(.proxyAuthentication, "m"), .proxy),
            (WebSocketError(.timeout, "m", phase: .proxy), .proxy),
            (WebSocketError(.tlsExpired, "m"), .tls), (WebSocketError(.tlsConfiguration, "m"), .tls),
            (WebSocketError(.httpStatus, "m"), .http), (WebSocketError(.redirected, "m"), .http),
        ]
    )
    func failures(error: WebSocketError, name: DoctorCheck.Name) throws {
        var diagnosis = try started()
        diagnosis.take(error)
        let checks = diagnosis.takeChecks()
        #expect(checks.map(\.name) == DoctorCheck.Name.way)
        for check in checks {
            let expected: DoctorCheck.Status =
                check.name == name ? .failed : [.settings, .policy].contains(check.name) ? .ok : .skipped
            #expect(check.status == expected, "\(check)")
        }
        #expect(checks.first { $0.status == .failed }?.detail == "m")
    }

    @Test("a certificate that the server judges late fails where the doctor stands")
    func lateFailure() throws {
        var diagnosis = try started()
        diagnosis.take(try route(.direct))
        diagnosis.take(.resolved(host: "h", addresses: ["h"], took: .zero))
        diagnosis.take(.connected(address: "h:1", took: .zero))
        diagnosis.note(.tls, .ok, "secured")
        diagnosis.take(WebSocketError(.tlsClientCertificate, "give one"))
        let checks = diagnosis.takeChecks()
        #expect(checks.map(\.name) == DoctorCheck.Name.way)
        #expect(checks.first { $0.status == .failed }?.name == .http)
    }

    @Test("settings that lead nowhere fail as settings")
    func settings() {
        var diagnosis = LinkDiagnosis(unixSeconds: 0)
        diagnosis.fail(.settings, "not paired")
        let checks = diagnosis.takeChecks()
        #expect(checks.first?.status == .failed)
        #expect(checks.dropFirst().allSatisfy { $0.status == .skipped })
    }
}

@Suite("What the doctor makes of the hub's answer")
struct HubAnswerTests {
    private func answer(_ token: String = "accepted", protocols: ClosedRange<UInt32> = 1...1) -> HubAnswer {
        HubAnswer(
            token: token,
            nodeID: "n1",
            nodeName: "attic",
            hubName: "hub",
            hubVersion: "0.1.0",
            protocolMin: protocols.lowerBound,
            protocolMax: protocols.upperBound,
            timeUnixMilliseconds: 1_000_000
        )
    }

    @Test(
        "tells what a token is worth, and what to do",
        arguments: [
            ("accepted", DoctorCheck.Status.ok, "attic (n1)"), ("revoked", .failed, "4403"),
            ("expired", .failed, "4401"), ("unknown", .failed, "edge-agent enroll --again"),
            ("odd", .failed, "upgrade"),
        ]
    )
    func tokens(token: String, status: DoctorCheck.Status, text: String) {
        let check = answer(token).tokenCheck(expectedNode: "n1", isPaired: true)
        #expect(check.status == status)
        #expect(check.detail.contains(text))
    }

    @Test("a token of another node, and none at all, fail")
    func mismatch() {
        #expect(answer().tokenCheck(expectedNode: "n2", isPaired: true).status == .failed)
        #expect(answer().tokenCheck(expectedNode: "", isPaired: true).status == .ok)
        let none = answer("unknown").tokenCheck(expectedNode: "", isPaired: false)
        #expect(none.status == .failed && none.detail.contains("edge-agent enroll"))
    }

    @Test("says which side is to be upgraded when they share no protocol version")
    func versions() {
        #expect(answer(protocols: 1...3).hubCheck(supported: 2...4).detail.hasSuffix("protocol 3"))
        let old = answer(protocols: 1...1).hubCheck(supported: 2...4)
        #expect(old.status == .failed && old.detail.hasSuffix("upgrade the hub"))
        let new = answer(protocols: 5...6).hubCheck(supported: 2...4)
        #expect(new.status == .failed && new.detail.hasSuffix("upgrade this agent"))
    }

    @Test("measures the clock against the middle of the question, and says which way it is off")
    func clock() {
        #expect(
            answer().clockCheck(sent: 999_900, received: 1_000_100).detail == "this machine is 0.0 ms behind the hub"
        )
        let behind = answer().clockCheck(sent: 900_000, received: 900_000)
        #expect(behind.detail.hasPrefix("this machine is 100000.0 ms behind the hub; "))
        let ahead = answer().clockCheck(sent: 1_000_500, received: 1_000_500)
        #expect(ahead.detail == "this machine is 500.0 ms ahead of the hub")
    }

    @Test("reads what the hub writes")
    func decoding() throws {
        let json = """
            {"token":"accepted","node_id":"n1","node_name":"attic","hub_name":"hub","hub_version":"0.1.0",
             "protocol_min":1,"protocol_max":1,"time_unix_ms":1000000,"later":true}
            """
        #expect(try JSONDecoder().decode(HubAnswer.self, from: Data(json.utf8)) == answer())
    }

    @Test("a line is aligned, coloured on terminals only, and cannot steer one")
    func lines() {
        let check = DoctorCheck(name: .dns, status: .failed, detail: "bad\u{1B}[2J\nname")
        #expect(DoctorReport.line(check, isColoured: false) == "dns        FAIL     bad?[2J?name")
        #expect(DoctorReport.line(check, isColoured: true).hasPrefix("dns        \u{1B}[1;31mFAIL   \u{1B}[0m  bad"))
    }
}
