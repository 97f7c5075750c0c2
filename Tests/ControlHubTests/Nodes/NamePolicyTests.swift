import Foundation
import HTTPTypes
import Testing

@testable import ControlHub

@Suite("A name")
struct NamePolicyTests {
    @Test(
        "is refused where it looks like another, or like nothing",
        arguments: [
            "kit\u{202E}chen", "kit\u{200B}chen", "kitchen\u{2066}", "\u{FEFF}kitchen", "kit\u{00AD}chen",
            "kit\u{2060}chen", "a\u{3164}b", "a\u{2800}b", "a\u{00A0}b", "a\u{0007}b", "a\u{2028}b", "a\u{034F}b",
            "a\u{200D}b", "1\u{FE0F}", "\u{E0041}a", "a\u{061C}b",
        ]
    )
    func hidden(name: String) throws {
        #expect(throws: HubError.self) { try NamePolicy.checked(name) }
        do {
            _ = try NamePolicy.checked(name, field: "label")
        } catch let error as HubError {
            #expect(error.code == .invalidRequest && error.detail.contains("`label`") && error.detail.contains("U+"))
        }
    }

    @Test(
        "may have letters and pictures of everybody",
        arguments: ["küche", "厨房 1", "キッチン\u{3000}1", "👩\u{200D}💻", "❤\u{FE0F} node", "مطبخ", "रसोई", "a-b_c.d (2)"]
    )
    func seen(name: String) throws {
        #expect(try NamePolicy.checked("  \(name) ") == name)
    }

    @Test("is not like an id, of whatever kind, nor the id that another bot has")
    func ids() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        for id in [
            bot.rawValue, node.rawValue, BotID.make(at: hub.now).rawValue, DeploymentID.make(at: hub.now).rawValue,
        ] {
            #expect(NamePolicy.isLikeID(id))
            await expectHubError(.invalidRequest) { _ = try await hub.parts.nodes.create(name: id, by: .hub) }
            await expectHubError(.invalidRequest) {
                _ = try await hub.parts.bots.create(
                    name: id,
                    node: node,
                    runtimeProfile: "default",
                    config: nil,
                    by: .hub
                )
            }
            await expectHubError(.invalidRequest) {
                try await hub.parts.bots.update(bot, name: id, config: nil, by: .hub)
            }
        }
        #expect(!NamePolicy.isLikeID("bot_kitchen") && !NamePolicy.isLikeID("my_bot_1"))
        // One that was adopted may have any id.
        let adopted = BotID(rawValue: "echo")
        let date = hub.now
        try await hub.parts.database.write { db in
            try BotStore.insert(
                db,
                adopted,
                name: "from afar",
                at: Placement(node: node, runtimeProfile: "default"),
                epoch: 1,
                desired: .stopped,
                at: date
            )
        }
        await expectHubError(.nameTaken) { try await hub.parts.bots.update(bot, name: "echo", config: nil, by: .hub) }
        try await hub.parts.bots.update(adopted, name: "echo", config: nil, by: .hub)
    }

    @Test("stays as it is where it is stored already, and is shown with what nobody sees written out")
    func shown() {
        #expect(HiddenCharacters.escaped("kit\u{202E}chen") == #"kit\u{202E}chen"#)
        #expect(HiddenCharacters.escaped("a\u{200B}\u{200D}b") == #"a\u{200B}\u{200D}b"#)
        #expect(HiddenCharacters.escaped("👩\u{200D}💻 ❤\u{FE0F}") == "👩\u{200D}💻 ❤\u{FE0F}")
    }

    @Test("is asked of operators, tokens, conversations and labels, too")
    func everywhere() async throws {
        let hub = try TestHub()
        let admin = try await hub.token(.admin)
        let (node, bot) = try await hub.botOnNode()
        try await hub.api { api in
            let calls: [(path: String, method: String, body: String)] = [
                ("/api/operators", "POST", #"{"name":"a\u200bb","role":"viewer"}"#),
                ("/api/tokens", "POST", #"{"name":"a\u202eb"}"#), ("/api/nodes", "POST", #"{"name":"a\u2066b"}"#),
                ("/api/enrollments", "POST", #"{"name":"a\u200bb"}"#),
                ("/api/bots/\(bot)/messages", "POST", #"{"text":"hi","conversation_id":"a\u202eb"}"#),
                ("/api/nodes/\(node)", "PATCH", #"{"labels":{"room":"a\u200bb"}}"#),
            ]
            for call in calls {
                let answer = try await api.send(
                    call.method == "POST" ? .post : .patch,
                    call.path,
                    token: admin,
                    body: call.body
                )
                #expect(answer.status == 422 && answer.code == "invalid_request", "\(call.path): \(answer.json)")
                #expect(answer["detail"]?.stringValue?.contains("U+") == true, "\(call.path): \(answer.json)")
            }
        }
    }
}
