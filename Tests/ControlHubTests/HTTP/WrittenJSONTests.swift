import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import NIOCore
import Testing
import WireFormat

@testable import ControlHub

/// Texts of configurations and packets, which the hub hands on and does not rewrite.
@Suite("JSON is kept as it is written")
struct WrittenJSONTests {
    /// What no number of JavaScript or Swift holds, what an encoder would write otherwise, and what readers do not agree on.
    private static let text =
        #"{ "id" : 1234567890123456789012, "zero": 0.10,"one":1.0, "big":[1e999,-1E-999],  "z":{"b":1,"a":2,"a":3},"t":"\u00e9\/" }"#

    private func bodyText(
        _ api: APIClient,
        _ method: HTTPRequest.Method,
        _ path: String,
        _ token: String,
        _ body: String? = nil
    ) async throws -> (status: Int, text: String) {
        try await api.client.execute(
            uri: path,
            method: method,
            headers: [.contentType: "application/json", .authorization: "Bearer \(token)"],
            body: body.map { ByteBuffer(string: $0) }
        ) { ($0.status.code, String(buffer: $0.body)) }
    }

    @Test("A configuration is stored, shown and sent to its node as somebody wrote it, also when the bot is renamed")
    func configuration() async throws {
        let hub = try TestHub()
        let token = try await hub.token(.operator)
        let node = try await hub.parts.nodes.create(name: "n", by: .hub).id
        try await hub.api { api in
            let made = try await bodyText(
                api,
                .post,
                "/api/bots",
                token,
                #"{"name":"echo","config": \#(Self.text) ,"node_id":"\#(node)"}"#
            )
            #expect(made.status == 201 && made.text.contains(#""config":\#(Self.text),"#), "\(made)")
            let bot = try #require(try await hub.parts.bots.store.list().first).id
            let renamed = try await bodyText(api, .patch, "/api/bots/\(bot)", token, #"{"name":"other"}"#)
            #expect(renamed.status == 200 && renamed.text.contains(Self.text), "\(renamed)")
            for path in ["/api/bots", "/api/bots/\(bot)"] {
                #expect(try await bodyText(api, .get, path, token).text.contains(Self.text))
            }
            _ = try await hub.parts.commands.start(bot, by: .hub)
            let sent = try await hub.parts.commands.outstanding(for: node).map(\.command.startBot.bot.configJson)
            #expect(sent == [Data(Self.text.utf8)])
            // Nobody is asked to guess: neither null nor another kind of value replaces it.
            let none = try await bodyText(api, .patch, "/api/bots/\(bot)", token, #"{"config":null}"#)
            #expect(none.status == 200 && none.text.contains(Self.text))
            for other in [#""{}""#, "[]", "7", #""written-1-2:0.""#] {
                let refused = try await bodyText(api, .patch, "/api/bots/\(bot)", token, #"{"config":\#(other)}"#)
                #expect(refused.status == 422 && refused.text.contains("must be a JSON object"), "\(refused)")
            }
        }
    }

    @Test("A name that stands twice in a request is refused; in a configuration it is the bot's to read")
    func doubled() async throws {
        let hub = try TestHub()
        let token = try await hub.token(.operator)
        let bot = try await hub.botOnNode().bot
        try await hub.api { api in
            for body in [#"{"name":"a","name":"b"}"#, #"{"config":{},"config":{"a":1}}"#] {
                let refused = try await bodyText(api, .patch, "/api/bots/\(bot)", token, body)
                #expect(refused.status == 422 && refused.text.contains("stands twice"), "\(refused)")
            }
            let taken = try await bodyText(api, .patch, "/api/bots/\(bot)", token, #"{"config":{"a":1,"a":2}}"#)
            #expect(taken.status == 200 && taken.text.contains(#"{"a":1,"a":2}"#), "\(taken)")
        }
    }

    @Test(
        "A packet is shown as its bot wrote it, and its answer is read whatever numbers stand beside it",
        arguments: [
            #"{ "text":"hello", "final":true, "n":1e999, "id":1234567890123456789012, "x":[1.0,0.10] }"#,
            #"{"text":"no","text":"hello","final":false,"final":true,"deep":{"e":-1E+400}}"#,
        ]
    )
    func packet(json: String) async throws {
        let hub = try TestHub()
        let token = try await hub.token(.viewer)
        let (node, bot) = try await hub.botOnNode()
        let sent = try await hub.parts.commands.send("hello", to: bot, in: nil, by: .hub)
        try await hub.parts.commands.markDelivered(sent.command)
        var packet = WireMonitorPacket()
        packet.botID = bot.rawValue
        packet.sequence = 1
        packet.type = "assistant_message"
        packet.messageID = sent.message.rawValue
        packet.json = Data(json.utf8)
        _ = try await hub.parts.packets.ingest([packet], journal: "j", from: node)
        try await hub.api { api in
            let packets = try await bodyText(api, .get, "/api/bots/\(bot)/packets", token)
            #expect(packets.text.contains(#""json":\#(json),"#), "\(packets)")
            let talk = try await bodyText(api, .get, "/api/bots/\(bot)/conversations/\(sent.conversation)", token)
            #expect(talk.text.contains(#""text":"hello""#) && talk.text.contains(#""role":"assistant""#), "\(talk)")
        }
        #expect(try await hub.services.messages.message(sent.message)?.state == .answered)
    }

    @Test("The command line shows numbers as they came")
    func commandLine() throws {
        let text = #"{"a":1.0,"b":[0.10,1e999,12345678901234567890123],"c":1.5,"d":7}"#
        let value = try JSONReader.value(text.utf8)
        #expect(String(decoding: try JSONCoding.encode(value), as: UTF8.self) == text)
        #expect(value["a"]?.integerValue == 1 && value["d"] == .integer(7) && value["c"] == .number(1.5))
    }
}
