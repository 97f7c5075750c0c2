import Foundation
import GRDB
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import SwiftProtobuf
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

@Suite("The API")
struct APITests {
    @Test("answers every mistake with a problem document")
    func problems() async throws {
        let hub = try TestHub()
        let token = try await hub.token(.admin)
        try await hub.api { api in
            let cases: [(APIClient.Answer, Int, String)] = [
                (try await api.send(.get, "/api/nowhere", token: token), 404, "not_found"),
                (try await api.send(.get, "/api/nodes/x", token: token), 404, "not_found"),
                (try await api.send(.post, "/api/nodes", token: token, body: "{"), 422, "invalid_request"),
                (try await api.send(.post, "/api/nodes", token: token, body: "{}"), 422, "invalid_request"),
                (try await api.send(.post, "/api/nodes", token: token, body: #"{"name":""}"#), 422, "invalid_request"),
                (try await api.send(.get, "/api/nodes?limit=0", token: token), 422, "invalid_request"),
                (try await api.send(.get, "/api/commands?state=odd", token: token), 422, "invalid_request"),
                (
                    try await api.send(
                        .post,
                        "/api/nodes",
                        token: token,
                        body: "{\"name\":\"\(String(repeating: "x", count: 70_000))\"}"
                    ),
                    413, "payload_too_large"
                ),
            ]
            for (answer, status, code) in cases {
                #expect(answer.status == status && answer.code == code)
                #expect(answer.headers[.contentType] == "application/problem+json")
                #expect(
                    answer["title"]?.stringValue?.isEmpty == false && answer["detail"]?.stringValue?.isEmpty == false
                )
                #expect(answer["status"] == .integer(Int64(status)))
            }
            let missing = try await api.send(.post, "/api/bots", token: token, body: #"{"name":"x"}"#)
            #expect(missing["detail"]?.stringValue?.contains("node_id") == true)
        }
    }

    @Test("signs a browser in by a link that works once, and asks it for the CSRF token with each change")
    func session() async throws {
        let hub = try TestHub()
        let login = try await hub.parts.operators.add(name: "anna", role: .admin, by: .hub).loginToken
        try await hub.api { api in
            let body = "{\"login_token\":\"\(login)\"}"
            let signedIn = try await api.send(.post, "/api/session", body: body)
            #expect(signedIn.status == 201)
            let cookie = try #require(signedIn.headers[.setCookie])
            for attribute in ["HttpOnly", "SameSite=Strict", "Secure", "Path=/"] { #expect(cookie.contains(attribute)) }
            #expect(try await api.send(.post, "/api/session", body: body).status == 401, "used up")

            let sent = ["Cookie": String(cookie.prefix { $0 != ";" })]
            let session = try await api.send(.get, "/api/session", headers: sent)
            #expect(session["operator"]?["name"] == .string("anna"))
            let csrf = try #require(session["csrf_token"]?.stringValue)
            let without = try await api.send(.post, "/api/nodes", body: #"{"name":"a"}"#, headers: sent)
            #expect(without.status == 403 && without.code == "csrf_token_missing")
            let wrong = try await api.send(
                .post,
                "/api/nodes",
                body: #"{"name":"a"}"#,
                headers: sent.merging(["X-CSRF-Token": csrf + "x"]) { $1 }
            )
            #expect(wrong.status == 403)
            let both = sent.merging(["X-CSRF-Token": csrf]) { $1 }
            #expect(try await api.send(.post, "/api/nodes", body: #"{"name":"a"}"#, headers: both).status == 201)
            #expect(try await api.send(.delete, "/api/session", headers: both).status == 204)
            #expect(try await api.send(.get, "/api/session", headers: sent).status == 401)
        }
    }

    @Test("a login link and a session end by themselves")
    func expiry() async throws {
        let hub = try TestHub()
        let first = try await hub.parts.operators.add(name: "a", role: .viewer, by: .hub).loginToken
        let session = try await hub.parts.operators.startSession(token: first)
        hub.clock.advance(by: .seconds(12 * 3600))
        #expect(try await hub.parts.operators.authenticate(session: session.token) == nil)
        let second = try await hub.parts.operators.add(name: "b", role: .viewer, by: .hub).loginToken
        hub.clock.advance(by: .seconds(24 * 3600))
        await expectHubError(.unauthenticated) { _ = try await hub.parts.operators.startSession(token: second) }
    }

    @Test("repeats the answer for a repeated Idempotency-Key, and does the thing once")
    func idempotency() async throws {
        let hub = try TestHub()
        let token = try await hub.token(.admin)
        let other = try await hub.token(.admin)
        try await hub.api { api in
            let key = ["Idempotency-Key": "key-1"]
            let first = try await api.send(.post, "/api/nodes", token: token, body: #"{"name":"a"}"#, headers: key)
            let second = try await api.send(.post, "/api/nodes", token: token, body: #"{"name":"a"}"#, headers: key)
            #expect(first.status == 201 && second.status == 201 && first.json == second.json)
            #expect(try await api.send(.get, "/api/nodes", token: token).items.count == 1)
            let changed = try await api.send(.post, "/api/nodes", token: token, body: #"{"name":"b"}"#, headers: key)
            #expect(changed.status == 422 && changed.code == "idempotency_key_reused")
            let foreign = try await api.send(.post, "/api/nodes", token: other, body: #"{"name":"c"}"#, headers: key)
            #expect(foreign.status == 201, "keys belong to one operator")
            let failing = ["Idempotency-Key": "key-2"]
            let failed = try await api.send(.post, "/api/nodes", token: token, body: #"{"name":""}"#, headers: failing)
            #expect(failed.status == 422)
            let repeated = try await api.send(
                .post,
                "/api/nodes",
                token: token,
                body: #"{"name":"d"}"#,
                headers: failing
            )
            #expect(repeated.status == 201, "what failed may be tried again")
        }
        let nodeToken = try Data(contentsOf: URL(fileURLWithPath: hub.directory.file("hub.sqlite-wal")))
        #expect(nodeToken.range(of: Data(#""token":"edge_"#.utf8)) == nil, "stored answers are encrypted")
    }

    @Test("runs the whole story of a bot")
    func story() async throws {
        let hub = try TestHub()
        let token = try await hub.token(.operator)
        let node = try await hub.parts.nodes.create(name: "n", by: .hub).id
        try await hub.api { api in
            let made = try await api.send(
                .post,
                "/api/bots",
                token: token,
                body: #"{"name":"b","node_id":"\#(node)","config":{"aKey":{"b_c":1}}}"#
            )
            #expect(made.status == 201)
            #expect(
                made["config"] == .object(["aKey": .object(["b_c": .integer(1)])]),
                "configurations stay as they are"
            )
            let bot = try #require(made["id"]?.stringValue)
            for (role, isShown) in [(Role.viewer, false), (.operator, true), (.admin, true)] {
                let token = try await hub.token(role)
                let one = try await api.send(.get, "/api/bots/\(bot)", token: token)
                let all = try await api.send(.get, "/api/bots", token: token)
                #expect(one.status == 200 && (one["config"] != nil) == isShown, "keys stand in configurations")
                #expect(all.status == 200 && (all["items"]?.arrayValue?.first?["config"] != nil) == isShown)
            }
            for member in ["node_id", "runtime_profile", "image"] {
                let moved = try await api.send(.patch, "/api/bots/\(bot)", token: token, body: "{\"\(member)\":\"x\"}")
                #expect(moved.status == 422 && moved.code == "use_deploy")
                #expect(moved["detail"]?.stringValue?.contains("/api/bots/\(bot)/deploy") == true)
            }
            #expect(
                try await api.send(.patch, "/api/bots/\(bot)", token: token, body: #"{"name":"c"}"#)["name"]
                    == .string("c")
            )
            let started = try await api.send(.post, "/api/bots/\(bot)/start", token: token)
            #expect(started.status == 202 && started["command_id"] != nil)
            let sent = try await api.send(.post, "/api/bots/\(bot)/messages", token: token, body: #"{"text":"hi"}"#)
            #expect(sent.status == 202)
            let conversation = try #require(sent["conversation_id"]?.stringValue)
            let message = try #require(sent["message_id"]?.stringValue)
            let packets = [("tool", #"{"text":"ls"}"#), ("assistant_message", #"{"text":"hello","final":true}"#)]
            let wire = packets.enumerated().map { index, each in
                var packet = WireMonitorPacket()
                packet.botID = bot
                packet.sequence = UInt64(index + 1)
                packet.type = each.0
                packet.messageID = message
                packet.conversationID = conversation
                packet.json = Data(each.1.utf8)
                return packet
            }
            _ = try await hub.parts.packets.ingest(wire, journal: "j", from: node)
            let talk = try await api.send(.get, "/api/bots/\(bot)/conversations/\(conversation)", token: token)
            #expect(talk.items.map { $0["role"]?.stringValue } == ["user", "assistant"])
            #expect(talk.items.first?["state"] == .string("answered"))
            #expect(talk.items.last?["text"] == .string("hello"))
            guard case .array(let steps)? = talk.items.last?["steps"] else {
                throw HubError(.internalError, "no steps")
            }
            #expect(steps.map { $0["text"] } == [.string("ls")])
            let list = try await api.send(.get, "/api/bots/\(bot)/conversations", token: token)
            #expect(list.items.map { $0["conversation_id"]?.stringValue } == [conversation])
            let page = try await api.send(.get, "/api/bots/\(bot)/packets?limit=1", token: token)
            let next = try #require(page["next_cursor"]?.stringValue)
            let rest = try await api.send(.get, "/api/bots/\(bot)/packets?after=\(next)", token: token)
            #expect(rest.items.map { $0["type"]?.stringValue } == ["assistant_message"])
            #expect(try await api.send(.delete, "/api/bots/\(bot)", token: token).status == 202)
            #expect(try await api.send(.get, "/api/bots/\(bot)", token: token).status == 404)
        }
        let admin = try await hub.token(.admin)
        try await hub.api { api in
            let actions = try await api.send(.get, "/api/audit", token: admin).items.compactMap {
                $0["action"]?.stringValue
            }
            for action in ["bot.create", "bot.rename", "bot.start", "message.send", "bot.delete"] {
                #expect(actions.contains(action))
            }
        }
    }

    @Test("shows a node with its three facts and all its figures")
    func nodeDocument() async throws {
        let hub = try TestHub()
        let token = try await hub.token(.viewer)
        let node = try await hub.parts.nodes.create(name: "n", by: .hub).id
        var hello = WireHello()
        hello.agentVersion = "1.2.3"
        hello.capabilities = ["runtime.native": "true"]
        let session = try await hub.parts.nodes.openSession(node, hello: hello, remoteAddress: "192.0.2.1", at: hub.now)
        var heartbeat = WireHeartbeat()
        heartbeat.resources.load1M = 0.5
        heartbeat.linkRttUs = 1500
        await hub.parts.nodes.heartbeat(node, epoch: session.epoch, heartbeat, at: hub.now)
        try await hub.api { api in
            let shown = try await api.send(.get, "/api/nodes/\(node)", token: token)
            #expect(shown["health"] == .string("online"))
            #expect(shown["link"]?["state"] == .string("up") && shown["agent"]?["state"] == .string("running"))
            #expect(shown["workload"]?["bots_total"] == .integer(0))
            #expect(shown["capabilities"]?["runtime.native"] == .string("true"))
            #expect(shown["resources"]?["load_1m"] == .number(0.5))
            #expect(shown["link_rtt_ms"] == .number(1.5))
            #expect(shown["last_seen_at"] == .string("2026-01-01T00:00:00.000Z"))
            #expect(shown["session_epoch"] == .integer(1))
        }
    }

    @Test("says of an agent that something keeps it from its work what that is, since when, and when it is over")
    func impairedAgent() async throws {
        let hub = try TestHub()
        let token = try await hub.token(.viewer)
        let node = try await hub.parts.nodes.create(name: "n", by: .hub).id
        let session = try await hub.parts.nodes.openSession(node, hello: WireHello(), remoteAddress: "::1", at: hub.now)
        let full = WireNodeProblem.with { ($0.code, $0.message) = ("disk_full", "The disk of /s is full.") }
        try await hub.api { api in
            func tell(_ problems: [WireNodeProblem], after seconds: Double) async throws -> JSONValue? {
                var heartbeat = WireHeartbeat()
                heartbeat.resources.problems = problems
                let date = hub.now.addingTimeInterval(seconds)
                await hub.parts.nodes.heartbeat(node, epoch: session.epoch, heartbeat, at: date)
                return try await api.send(.get, "/api/nodes/\(node)", token: token)["agent"]
            }
            #expect(try await tell([], after: 0)?["state"] == .string("running"))
            for seconds in [1.0, 2.0] {
                let troubled = try await tell([full], after: seconds)
                #expect(troubled?["state"] == .string("impaired"))
                #expect(troubled?["reason"] == .string("The disk of /s is full."))
                #expect(troubled?["since"] == .string("2026-01-01T00:00:01.000Z"))
            }
            #expect(try await tell([], after: 3)?["state"] == .string("running"))
        }
        let told = hub.parts.events.history(before: nil, limit: 100) { $0.nodeID == node.rawValue }
            .map(\.data).filter { $0["change"] == .string("agent") }.map { $0["state"]?.stringValue }
        #expect(told == ["running", "impaired"], "newest first, and told once")
    }

    @Test("reads a log by page, and says when the node is offline")
    func logs() async throws {
        let hub = try TestHub()
        let token = try await hub.token(.viewer)
        let (_, bot) = try await hub.botOnNode()
        try await hub.api { api in
            let offline = try await api.send(.get, "/api/bots/\(bot)/logs", token: token)
            #expect(offline.status == 409 && offline.code == "node_offline")
            hub.channel.chunks = [
                .with {
                    $0.nextOffset = 12
                    $0.lines = [
                        .with {
                            $0.offset = 7; $0.source = .stderr; $0.text = Data("héllo".utf8)
                        }
                    ]
                }
            ]
            let page = try await api.send(.get, "/api/bots/\(bot)/logs?offset=7", token: token)
            #expect(page["next_offset"] == .integer(12))
            guard case .array(let lines)? = page["lines"] else { throw HubError(.internalError, "no lines") }
            #expect(lines.map { $0["text"] } == [.string("héllo")])
            #expect(lines.first?["source"] == .string("stderr"))
            #expect(hub.channel.requests.last?.start == .fromOffset(7))
        }
    }

    @Test("pairs an agent over HTTP, and tells every refusal by its code")
    func enroll() async throws {
        let hub = try TestHub()
        let admin = try await hub.token(.admin)
        try await hub.api { api in
            let made = try await api.send(.post, "/api/enrollments", token: admin)
            let code = try #require(made["code"]?.stringValue)
            #expect(
                made["command"]?.stringValue?.contains("edge-agent enroll --hub https://hub.example --code \(code)")
                    == true
            )
            let body = #"{"code":"\#(code)","request_id":"request-1","name":"k","host_name":"h"}"#
            let paired = try await api.send(.post, "/edge/v1/enroll", body: body)
            #expect(
                paired.status == 201 && paired["node_name"] == .string("k") && paired["hub_name"] == .string("test")
            )
            let used = try await api.send(
                .post,
                "/edge/v1/enroll",
                body: #"{"code":"\#(code)","request_id":"request-2","name":"k"}"#
            )
            #expect(used.status == 409 && used.code == "enrollment_code_used")
            let listed = try await api.send(.get, "/api/enrollments", token: admin).items.first
            #expect(listed?["state"] == .string("used") && listed?["redeemed_node_id"] == paired["node_id"])
            #expect(listed?["code"] == nil || listed?["code"] == .null)
            var last = used
            for _ in 0..<12 { last = try await api.send(.post, "/edge/v1/enroll", body: body) }
            #expect(last.status == 201, "what is good is not counted")
            let wrong = #"{"code":"ABCD-EFGH-JKMN","request_id":"request-3","name":"k"}"#
            for _ in 0..<12 { last = try await api.send(.post, "/edge/v1/enroll", body: wrong) }
            #expect(last.status == 429 && last.code == "rate_limited" && last.headers[.retryAfter] != nil)
        }
    }

    @Test("says that it is not ready while the database takes nothing, and that it is once it does")
    func unready() async throws {
        let hub = try TestHub()
        let refuse: @Sendable (Bool) async throws -> Void = { isRefusing in
            try await hub.parts.database.withoutTransaction { db in
                try db.execute(sql: "PRAGMA query_only = \(isRefusing ? 1 : 0)")
            }
        }
        try await hub.api { api in
            #expect(try await api.send(.get, "/readyz").status == 200)
            try await refuse(true)
            await #expect(throws: HubError.self) { try await hub.parts.nodes.create(name: "n", by: .hub) }
            for _ in 1...2 {
                let answer = try await api.send(.get, "/readyz")
                #expect(answer.status == 503)
            }
            #expect(try await api.send(.get, "/healthz").status == 200)
            try await refuse(false)
            #expect(try await api.send(.get, "/readyz").status == 200)
        }
    }

    @Test("sends the page with headers that forbid everything it does not need, and answers the probes")
    func page() async throws {
        let hub = try TestHub()
        try await hub.api { api in
            for path in ["/healthz", "/readyz"] {
                let answer = try await api.send(.get, path)
                #expect(answer.status == 200)
                #expect(answer.headers[.contentSecurityPolicy]?.contains("default-src 'none'") == true)
                #expect(answer.headers[.xContentTypeOptions] == "nosniff")
            }
            for path in ["/", "/login", "/assets/app.js", "/assets/app.css"] {
                let status = try await api.client.execute(uri: path, method: .get) { $0.status.code }
                #expect(status == 200, "\(path)")
            }
            #expect(try await api.send(.get, "/assets/..%2Fsecret").status == 404)
        }
    }
}
