import Foundation
import HTTPTypes
import Testing

@testable import ControlHub

/// Every text, list and map that a call takes, found in the list of calls.
@Suite("Texts and lists in requests")
struct BodyBoundsTests {
    /// Members whose JSON is not ours to describe; the body's size bounds them, and `config` has a size of its own.
    private static let free: Set = ["config", "rules.*", "node_id", "runtime_profile", "image"]

    private static func unbounded(_ schema: JSONValue, _ named: [String: Schema], _ path: String) -> [String] {
        if let name = schema["$ref"]?.stringValue?.split(separator: "/").last, let target = named[String(name)] {
            return unbounded(target.json, named, path)
        }
        if case .array(let alternatives)? = schema["anyOf"] {
            return alternatives.flatMap { unbounded($0, named, path) }
        }
        let kinds: [JSONValue] =
            if case .array(let kinds)? = schema["type"] { kinds } else { [schema["type"] ?? .null] }
        var found: [String] = []
        if kinds.contains(.string("string")), schema["maxLength"] == nil, schema["enum"] == nil,
            schema["format"] != .string("date-time"), schema["format"] != .string("binary")
        {
            found.append("\(path): a text without maxLength")
        }
        if kinds.contains(.string("array")) {
            if schema["maxItems"] == nil { found.append("\(path): a list without maxItems") }
            found += unbounded(schema["items"] ?? .null, named, path + "[]")
        }
        if kinds.contains(.string("object")) {
            if case .object(let properties)? = schema["properties"] {
                found += properties.flatMap { unbounded($1, named, path.isEmpty ? $0 : "\(path).\($0)") }
            } else if let values = schema["additionalProperties"], values != .bool(false) {
                if schema["maxProperties"] == nil { found.append("\(path): a map without maxProperties") }
                if schema["propertyNames"]?["maxLength"] == nil { found.append("\(path): names without maxLength") }
                found += unbounded(values, named, path + ".*")
            } else if !free.contains(path) {
                found.append("\(path): an object of any shape")
            }
        }
        if kinds == [.null], !free.contains(path) { found.append("\(path): anything at all") }
        return found
    }

    @Test("Each has a bound in the OpenAPI document, so that none is taken at any length")
    func complete() throws {
        let hub = try TestHub()
        var count = 0
        for route in try HubRouter.routes(hub.services) {
            for parameter in route.allParameters {
                count += 1
                let found = Self.unbounded(parameter.schema.json, [:], parameter.name)
                #expect(found.isEmpty, "\(route.method) \(route.path)")
            }
            guard let body = route.body else { continue }
            var library = SchemaLibrary()
            let schema = try body.schema(&library).json
            count += 1
            #expect(Self.unbounded(schema, library.named, "").isEmpty, "\(route.method) \(route.path)")
        }
        #expect(count > 60)
    }

    @Test("A longer one is refused with a word on which, how long it is and how long it may be")
    func refused() async throws {
        let hub = try TestHub()
        let admin = try await hub.token(.admin)
        let (node, bot) = try await hub.botOnNode()
        let long = String(repeating: "é", count: 30_000)
        try await hub.api { api in
            for (path, body, named) in [
                ("/api/nodes", #"{"name":"\#(long)"}"#, "name"),
                ("/api/bots", #"{"name":"b","node_id":"\#(long)"}"#, "node_id"),
                ("/api/enrollments", #"{"name":"\#(long)"}"#, "name"),
                ("/api/operators", #"{"name":"\#(long)","role":"viewer"}"#, "name"),
                ("/api/session", #"{"token":"\#(String(long.prefix(1000)))"}"#, "token"),
                ("/api/bots/\(bot)/messages", #"{"text":"t","conversation_id":"\#(long)"}"#, "conversation_id"),
                ("/edge/v1/enroll", #"{"code":"c","request_id":"\#(String(long.prefix(1000)))"}"#, "request_id"),
            ] {
                let answer = try await api.send(.post, path, token: admin, body: body)
                #expect(
                    answer.status == 422 && answer["detail"]?.stringValue?.contains("`\(named)` has ") == true,
                    "\(path)"
                )
            }
            let search = try await api.send(
                .get,
                "/api/nodes?search=\(String(repeating: "x", count: 500))",
                token: admin
            )
            #expect(search.status == 422 && search["detail"]?.stringValue?.contains("`search` ") == true)
            let resumed = try await api.send(
                .get,
                "/api/events",
                token: admin,
                headers: ["Last-Event-ID": String(repeating: "0", count: 65), "Accept": "application/json"]
            )
            #expect(resumed.status == 422 && resumed["detail"]?.stringValue?.contains("`Last-Event-ID` has 65") == true)
            let labels = (0..<33).map { #""l\#($0)":"v""# }.joined(separator: ",")
            let answer = try await api.send(
                .patch,
                "/api/nodes/\(node)",
                token: admin,
                body: #"{"labels":{\#(labels)}}"#
            )
            #expect(answer.status == 422 && answer["detail"]?.stringValue?.contains("33 members") == true)
            let text = String(repeating: "x", count: CommandOperations.maximumTextBytes + 1)
            let sent = try await api.send(
                .post,
                "/api/bots/\(bot)/messages",
                token: admin,
                body: #"{"text":"\#(text)"}"#
            )
            #expect(sent.status == 413 && sent.code == "payload_too_large")
        }
    }
}
