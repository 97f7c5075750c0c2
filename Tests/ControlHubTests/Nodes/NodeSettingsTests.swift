import Foundation
import HTTPTypes
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

@Suite("What operators say of nodes")
struct NodeSettingsTests {
    private func hello(_ fingerprint: String, boot: String, host: String) -> WireHello {
        var hello = WireHello()
        hello.machineFingerprint = fingerprint
        hello.bootID = boot
        hello.hostName = host
        return hello
    }

    @Test("labels are kept, found by, and refused where their names are not possible")
    func labels() async throws {
        let hub = try TestHub()
        let admin = try await hub.token(.admin)
        let node = try await hub.parts.nodes.create(name: "attic", by: .hub).id
        _ = try await hub.parts.nodes.create(name: "cellar", by: .hub)
        try await hub.api { api in
            let path = "/api/nodes/\(node)"
            let labelled = try await api.send(
                .patch,
                path,
                token: admin,
                body: #"{"labels":{"site":"home","rack/row":""}}"#
            )
            #expect(labelled.status == 200 && labelled["labels"]?["site"] == .string("home"))
            for bad in [#"{"labels":{"Site":"x"}}"#, #"{"labels":{"":"x"}}"#, #"{"labels":{"a":1}}"#] {
                #expect(try await api.send(.patch, path, token: admin, body: bad).status == 422, "\(bad)")
            }
            for (query, names) in [
                ("label=site", ["attic"]), ("label=site=home", ["attic"]), ("label=site=work", []),
                ("search=ATT", ["attic"]), ("health=online", []),
            ] {
                let list = try await api.send(.get, "/api/nodes?\(query)", token: admin)
                #expect(list.items.compactMap { $0["name"]?.stringValue } == names, "\(query)")
            }
            let first = try await api.send(.get, "/api/nodes?health=never_seen&limit=1", token: admin)
            let cursor = try #require(first["next_cursor"]?.stringValue)
            let second = try await api.send(
                .get,
                "/api/nodes?health=never_seen&limit=1&cursor=\(cursor)",
                token: admin
            )
            // Which of them is older, made in the same millisecond, is not said.
            let names = (first.items + second.items).compactMap { $0["name"]?.stringValue }
            #expect(names.sorted() == ["attic", "cellar"] && second["next_cursor"] == .null)
        }
    }

    @Test("a node's own thresholds decide its health, until it has the hub's again")
    func thresholds() async throws {
        let hub = try TestHub()
        let admin = try await hub.token(.admin)
        let node = try await hub.parts.nodes.create(name: "n", by: .hub).id
        _ = try await hub.parts.nodes.openSession(node, hello: WireHello(), remoteAddress: "192.0.2.1", at: hub.now)
        try await hub.api { api in
            let path = "/api/nodes/\(node)"
            let set = try await api.send(
                .patch,
                path,
                token: admin,
                body: #"{"thresholds":{"degraded_after_seconds":300,"offline_after_seconds":600}}"#
            )
            #expect(set.status == 200 && set["thresholds"]?["own"] == .bool(true))
            hub.clock.advance(by: .seconds(299))
            _ = hub.parts.registry.evaluateAll(now: hub.clock.now, at: hub.now)
            #expect(try await api.send(.get, path, token: admin)["health"] == .string("online"))
            let odd = try await api.send(
                .patch,
                path,
                token: admin,
                body: #"{"thresholds":{"degraded_after_seconds":5}}"#
            )
            #expect(odd.status == 422)
            let again = try await api.send(.patch, path, token: admin, body: #"{"thresholds":{}}"#)
            #expect(again["thresholds"]?["own"] == .bool(false) && again["health"] == .string("offline"))
        }
        let reloaded = try await hub.parts.nodes.node(node)
        #expect(reloaded.thresholds == nil)
    }

    @Test("nothing is placed or started on a node that is drained; what runs goes on unless asked otherwise")
    func drain() async throws {
        let hub = try TestHub()
        let token = try await hub.token(.operator)
        let (node, bot) = try await hub.botOnNode()
        _ = try await hub.parts.commands.start(bot, by: .hub)
        try await hub.api { api in
            let drained = try await api.send(.post, "/api/nodes/\(node)/drain", token: token)
            #expect(drained["draining"] == .bool(true))
            #expect(try await hub.parts.bots.store.bot(bot).desiredState == .running)
            let placed = try await api.send(
                .post,
                "/api/bots",
                token: token,
                body: #"{"name":"x","node_id":"\#(node)"}"#
            )
            #expect(placed.status == 409 && placed.code == "node_draining")
            let started = try await api.send(.post, "/api/bots/\(bot)/restart", token: token)
            #expect(started.status == 409 && started.code == "node_draining")
            let stopped = try await api.send(
                .post,
                "/api/nodes/\(node)/drain",
                token: token,
                body: #"{"stop_bots":true}"#
            )
            #expect(stopped.status == 200)
            #expect(try await hub.parts.bots.store.bot(bot).desiredState == .stopped)
            let ended = try await api.send(
                .post,
                "/api/nodes/\(node)/drain",
                token: token,
                body: #"{"enabled":false}"#
            )
            #expect(ended["draining"] == .bool(false))
            #expect(try await api.send(.post, "/api/bots/\(bot)/start", token: token).status == 202)
        }
    }

    @Test("a clone is refused for good once that is decided, also after a restart, and gets a code of its own")
    func clone() async throws {
        let hub = try TestHub()
        let admin = try await hub.token(.admin)
        let nodes = hub.parts.nodes
        let node = try await nodes.create(name: "n", by: .hub).id
        _ = try await nodes.openSession(node, hello: hello("A", boot: "1", host: "a"), remoteAddress: "x", at: hub.now)
        let clone = hello("B", boot: "2", host: "b")
        #expect(
            try await nodes.openSession(node, hello: clone, remoteAddress: "y", at: hub.now).quarantineReason != nil
        )
        let kept = try await nodes.node(node).quarantine
        #expect(kept?.machine.hostName == "b" && kept?.attempts == 1)
        try await hub.api { api in
            let path = "/api/nodes/\(node)/quarantine"
            let decided = try await api.send(.post, path, token: admin, body: #"{"decision":"clone"}"#)
            #expect(decided.status == 200 && decided["command"]?.stringValue?.contains("edge-agent enroll") == true)
            #expect(decided["node"]?["quarantine"] == nil)
            let twice = try await api.send(.post, path, token: admin, body: #"{"decision":"clone"}"#)
            #expect(twice.status == 409 && twice.code == "node_not_quarantined")
        }
        // The hub starts again, the node is away, and the clone comes first.
        let registry = NodeRegistry(thresholds: HealthThresholds())
        registry.load(try await nodes.store.list(), now: hub.clock.now, date: hub.now)
        var later = clone
        later.bootID = "3"
        let verdict = registry.judge(
            node,
            MachineWitness(later, remoteAddress: "y"),
            now: hub.clock.now,
            at: hub.now
        )
        #expect(verdict.quarantineReason?.contains("is not this node") == true)
        #expect(registry.live(node)?.quarantine == nil, "what is decided asks for no other decision")
        #expect(
            registry.judge(
                node,
                MachineWitness(hello("A", boot: "9", host: "a"), remoteAddress: "x"),
                now: hub.clock.now,
                at: hub.now
            )
            .quarantineReason == nil
        )
    }

    @Test("a node that has moved takes over, and the machine it left is refused")
    func moved() async throws {
        let hub = try TestHub()
        let admin = try await hub.token(.admin)
        let nodes = hub.parts.nodes
        let node = try await nodes.create(name: "n", by: .hub).id
        let old = hello("A", boot: "1", host: "a")
        let new = hello("B", boot: "2", host: "b")
        _ = try await nodes.openSession(node, hello: old, remoteAddress: "x", at: hub.now)
        _ = try await nodes.openSession(node, hello: new, remoteAddress: "y", at: hub.now)
        try await hub.api { api in
            let path = "/api/nodes/\(node)/quarantine"
            let decided = try await api.send(.post, path, token: admin, body: #"{"decision":"moved"}"#)
            #expect(decided.status == 200)
        }
        #expect(hub.channel.disconnected[node] == 4409)
        let back = try await nodes.openSession(node, hello: old, remoteAddress: "x", at: hub.now)
        #expect(back.quarantineReason?.contains("is not this node") == true, "the old machine was quicker")
        #expect(nodes.registry.live(node)?.quarantine == nil)
        let opened = try await nodes.openSession(node, hello: new, remoteAddress: "y", at: hub.now)
        #expect(opened.quarantineReason == nil)
    }
}
