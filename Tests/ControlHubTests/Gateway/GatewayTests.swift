import Foundation
import Testing
import WebSocketKitLite
import WireFormat

@testable import ControlHub

/// The hub's end of the link as agents meet it, over real connections.
@Suite("The nodes' endpoint")
struct GatewayTests {
    private func hello(_ fingerprint: String = "", boot: String = "", node: String = "") -> WireHello {
        var hello = WireHello()
        hello.machineFingerprint = fingerprint
        hello.bootID = boot
        hello.nodeID = node
        hello.hostName = "host-\(fingerprint)"
        hello.journalID = "journal"
        return hello
    }

    @Test("a session is welcomed with its epoch and answered heartbeats")
    func welcome() async throws {
        try await RunningHub.run { hub in
            let node = try await hub.node()
            let ending = try await hub.session(node.token, hello: hello(node: node.id.rawValue)) { event, _ in
                switch event {
                case .welcomed(let welcome):
                    #expect(welcome.sessionEpoch == 1 && welcome.nodeName == "attic")
                    return true
                case .heartbeatAcknowledged: return false
                default: return true
                }
            }
            #expect(ending.cause == .closedHere)
        }
    }

    @Test("a newer session wins at once, and the older one ends with 4409")
    func takeover() async throws {
        try await RunningHub.run { hub in
            let node = try await hub.node()
            let welcomed = Signal()
            async let older = hub.session(node.token) { event, _ in
                if case .welcomed = event { welcomed.wake() }
                return true
            }
            try await welcomed.wait(after: 0)
            let newer = try await hub.session(node.token) { event, _ in
                guard case .welcomed(let welcome) = event else { return true }
                #expect(welcome.sessionEpoch == 2)
                let shown = try await hub.shown(node.id)
                #expect(shown["link"]?["state"] == .string("up"))
                return false
            }
            #expect(newer.closeCode == .normal)
            #expect(try await older.closeCode == .replaced)
        }
    }

    @Test("what is wrong with a token is told as a close code that the agent takes for a state")
    func credentials() async throws {
        try await RunningHub.run { hub in
            let unknown = try await hub.session("edge_nobody")
            #expect(unknown.closeCode == .tokenNotAccepted && unknown.credentialProblem == .unknown)

            let other = try await hub.node("other")
            let mixed = try await hub.session(other.token, hello: hello(node: "another-node"))
            #expect(mixed.closeCode == .tokenNotAccepted && mixed.credentialProblem == .unknown)

            let short = try await hub.node("short", lifetime: .zero)
            let expired = try await hub.session(short.token)
            #expect(expired.closeCode == .tokenNotAccepted && expired.credentialProblem == .expired)

            let revoked = try await hub.node("revoked")
            try await hub.parts.nodes.revoke(revoked.id, by: .hub, channel: NoAgentChannel())
            let ending = try await hub.session(revoked.token)
            #expect(ending.closeCode == .revoked && ending.credentialProblem == .revoked)
        }
    }

    @Test("a second machine with the identity is quarantined, and the node shows the evidence")
    func quarantine() async throws {
        try await RunningHub.run { hub in
            let node = try await hub.node()
            _ = try await hub.session(node.token, hello: hello("a", boot: "1")) { event, _ in
                guard case .welcomed = event else { return true }
                let clone = try await hub.session(node.token, hello: hello("b", boot: "1"))
                #expect(clone.closeCode == .replaced)
                #expect(clone.reason.hasPrefix("quarantined: another machine with this identity is connected"))
                let again = try await hub.session(node.token, hello: hello("b", boot: "1"))
                #expect(again.closeCode == .replaced)
                let shown = try await hub.shown(node.id)
                #expect(shown["link"]?["state"] == .string("up"))
                #expect(shown["quarantine"]?["attempts"] == .integer(2))
                #expect(shown["quarantine"]?["host_name"] == .string("host-b"))
                #expect(shown["session_epoch"] == .integer(1))
                return false
            }
        }
    }

    @Test("a clone with the same machine id is noticed when it takes turns")
    func alternating() async throws {
        try await RunningHub.run { hub in
            let node = try await hub.node()
            let ready = Signal()
            async let first = hub.session(node.token, hello: hello("a", boot: "1")) { event, _ in
                if case .welcomed = event { ready.wake() }
                return true
            }
            try await ready.wait(after: 0)
            _ = try await hub.session(node.token, hello: hello("a", boot: "2")) { event, _ in
                guard case .welcomed = event else { return true }
                let back = try await hub.session(node.token, hello: hello("a", boot: "1"))
                #expect(back.closeCode == .replaced)
                #expect(back.reason.hasPrefix("quarantined: two machines take turns"))
                return false
            }
            #expect(try await first.closeCode == .replaced)
        }
    }

    @Test("without a common protocol version the session ends with 4426 and both ranges")
    func versions() async throws {
        try await RunningHub.run { hub in
            let node = try await hub.node()
            let ending = try await hub.session(node.token, configuration: .init(versions: 7...9))
            #expect(ending.closeCode == .noCommonVersion)
            #expect(ending.reason == "hub speaks 1 to 1, agent 7 to 9")
        }
    }

    @Test("a text message, and bytes that are no frame, end the session with 4400")
    func protocolErrors() async throws {
        try await RunningHub.run { hub in
            let node = try await hub.node()
            for message in [WebSocketMessage.text("hello"), .binary([1, 2, 3])] {
                let connection = try await hub.connect(node.token)
                try await connection.send(message)
                // How it fails does not matter; the code does.
                _ = try? await connection.receive()
                #expect(await connection.closeStatus?.code.rawValue == 4400)
            }
        }
    }

    @Test("a node that comes back too often is told to slow down")
    func slowDown() async throws {
        try await RunningHub.run([.sessionBurst: "2", .sessionInterval: "1h"]) { hub in
            let node = try await hub.node()
            for _ in 0..<2 {
                let ending = try await hub.session(node.token) { event, _ in
                    if case .welcomed = event { false } else { true }
                }
                #expect(ending.closeCode == .normal)
            }
            let third = try await hub.session(node.token)
            #expect(third.closeCode == .slowDown)
            #expect(third.closeCode?.reconnect == .slowly)
        }
    }

    @Test("a hub that is busy answers 503 and says when to come back, one after the other")
    func busy() async throws {
        try await RunningHub.run([.admissionRate: "1", .admissionBurst: "1"]) { hub in
            let node = try await hub.node()
            let connection = try await hub.connect(node.token)
            var waits: [Duration] = []
            // On a slow machine one or the other may come when its turn is there.
            for _ in 0..<10 where waits.count < 2 {
                do {
                    _ = try await hub.connect(node.token)
                } catch let error as WebSocketError {
                    #expect(error.httpFailure?.status == 503)
                    #expect(error.httpFailure?.bodyPrefix.contains("hub_busy") == true)
                    waits.append(try #require(error.httpFailure?.retryAfter))
                }
            }
            #expect(waits.count >= 2)
            #expect(waits == waits.sorted() && (waits.first ?? .zero) >= .seconds(1))
            await connection.close()
        }
    }

    @Test("a request that is refused is answered with the reason, also where it asked for the upgrade")
    func explained() async throws {
        try await RunningHub.run { hub in
            do {
                _ = try await hub.connect("")
                Issue.record("upgraded without a token")
            } catch let error as WebSocketError {
                #expect(error.httpFailure?.status == 401)
                #expect(error.httpFailure?.bodyPrefix.contains("a node says who it is") == true)
            }
        }
    }

    @Test("a hub that stops sends GOAWAY, takes nobody, and closes with 1012")
    func restart() async throws {
        try await RunningHub.run { hub in
            let node = try await hub.node()
            let refused = Signal()
            let ending = try await hub.session(node.token) { event, _ in
                switch event {
                case .welcomed: hub.stop()
                case .goAway(_, let reason):
                    #expect(reason == "the hub is restarting")
                    do {
                        _ = try await hub.connect(node.token)
                        Issue.record("a hub that stops took a node")
                    } catch let error as WebSocketError {
                        #expect(error.httpFailure?.status == 503)
                        #expect(error.httpFailure?.retryAfter != nil)
                    }
                    refused.wake()
                default: break
                }
                return true
            }
            #expect(refused.ticket == 1)
            #expect(ending.closeCode == .hubRestarting)
            #expect(ending.afterGoAway)
        }
    }

    @Test("pairing again ends the session of who held the identity before")
    func pairedAgain() async throws {
        try await RunningHub.run { hub in
            let node = try await hub.node()
            let welcomed = Signal()
            async let before = hub.session(node.token, hello: hello("a")) { event, _ in
                if case .welcomed = event { welcomed.wake() }
                return true
            }
            try await welcomed.wait(after: 0)
            let code = try await hub.parts.enrollments.create(
                name: nil,
                node: "attic",
                lifetime: .seconds(60),
                by: .hub
            ).1
            let answer = try await HTTPExchange.perform(
                HTTPExchange.Request(
                    method: "POST",
                    endpoint: try Endpoint("http://\(hub.address)/edge/v1/enroll"),
                    headers: ["Content-Type": "application/json"],
                    body: Array(#"{"code": "\#(code.text)", "request_id": "request-1"}"#.utf8)
                ),
                dialer: Dialer(loop: hub.loop)
            )
            #expect(answer.status == 201)
            let json = try JSONDecoder().decode(JSONValue.self, from: Data(answer.body))
            #expect(json["node_id"] == .string(node.id.rawValue))
            #expect(try await before.closeCode == .revoked)
            let token = try #require(json["token"]?.stringValue)
            let after = try await hub.session(token, hello: hello("b")) { event, _ in
                guard case .welcomed(let welcome) = event else { return true }
                #expect(welcome.sessionEpoch == 2)
                return false
            }
            #expect(after.closeCode == .normal)
        }
    }
}
