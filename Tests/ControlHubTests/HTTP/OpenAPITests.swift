import Foundation
import HTTPTypes
import Hummingbird
import Testing

@testable import ControlHub

@Suite("The OpenAPI document")
struct OpenAPITests {
    /// The page's files, which are for browsers, and the nodes' WebSocket endpoint, which Entry adds.
    private static let notDescribed: Set = ["GET /", "GET /login", "GET /assets/{path}", "GET /edge/v1/connect"]

    @Test("describes every call that is registered, and no other")
    func complete() async throws {
        let hub = try TestHub()
        let registered = try Self.registered(in: try HubRouter.make(hub.services))
        let document = try await document(hub)
        guard case .object(let paths)? = document["paths"] else { throw Missing(what: "paths") }
        var described: Set<String> = []
        for (path, operations) in paths {
            guard case .object(let operations) = operations else { throw Missing(what: path) }
            described.formUnion(operations.keys.map { "\($0.uppercased()) \(path)" })
        }
        #expect(registered.subtracting(Self.notDescribed) == described)
        #expect(described.count > 35)
    }

    @Test("names each operation once, and every schema it refers to")
    func wellFormed() async throws {
        let hub = try TestHub()
        let document = try await document(hub)
        #expect(document["openapi"] == .string("3.1.0"))
        let text = String(decoding: try JSONEncoder().encode(document), as: UTF8.self)
        let ids = text.matches(of: /"operationId":"([^"]+)"/).map { String($0.1) }
        #expect(Set(ids).count == ids.count && ids.count > 35)
        guard case .object(let schemas)? = document["components"]?["schemas"] else { throw Missing(what: "schemas") }
        let references = Set(
            text.replacing("\\/", with: "/").matches(of: /components\/schemas\/(\w+)/).map { String($0.1) }
        )
        #expect(references.isSubset(of: schemas.keys) && references.contains("Problem"))
    }

    @Test("reads a schema off a type: names, kinds, what may be missing, words, lists and nested documents")
    func schemas() throws {
        struct Inner: Codable, Sendable { let innerName: String }
        struct Outer: Codable, APIDocument {
            let aText: String
            let aNumber: Double?
            let role: Role
            let items: [Inner]
            let labels: [String: String]
            let at: Date
            let anything: JSONValue
            static var memberDetails: [String: Schema] { ["a_text": .string(lengths: 1...3)] }
        }
        let schema = try SchemaLibrary.members(of: Outer.self)
        let properties = try #require(schema.json["properties"])
        #expect(properties["a_text"] == Schema.string(lengths: 1...3).json)
        #expect(properties["a_number"] == Schema.number.orNull.json)
        #expect(properties["role"] == Schema.words(["viewer", "operator", "admin"]).json)
        #expect(properties["items"]?["items"]?["properties"]?["inner_name"] == Schema.string().json)
        #expect(properties["labels"]?["additionalProperties"] == Schema.string().json)
        #expect(properties["at"] == Schema.time.json && properties["anything"] == .object([:]))
        #expect(
            schema.json["required"]
                == .array(["a_text", "anything", "at", "items", "labels", "role"].map(JSONValue.string))
        )
    }

    @Test("a member that is not known is refused, and named")
    func unknownMembers() async throws {
        let hub = try TestHub()
        let admin = try await hub.token(.admin)
        try await hub.api { api in
            let answer = try await api.send(.post, "/api/nodes", token: admin, body: #"{"name":"a","nmae":"b"}"#)
            #expect(answer.status == 422 && answer["detail"]?.stringValue?.contains("`nmae`") == true)
        }
    }

    @Test("an address that does not take a method says which it takes")
    func methods() async throws {
        let hub = try TestHub()
        try await hub.api { api in
            let answer = try await api.send(.put, "/api/nodes/x")
            #expect(answer.status == 405 && answer.code == "method_not_allowed")
            #expect(answer.headers[.allow] == "DELETE, GET, HEAD, PATCH")
            #expect(try await api.send(.put, "/api/nowhere").status == 404)
        }
    }

    /// What is really registered. The router tells nobody, so this looks into it.
    private static func registered(in router: Router<HubRequestContext>) throws -> Set<String> {
        let root = try #require(Mirror(reflecting: router).descendant("trie", "root"))
        var found: Set<String> = []
        var nodes: [Any] = [root]
        while let node = nodes.popLast() {
            let mirror = Mirror(reflecting: node)
            nodes += (mirror.descendant("children") as? [Any]) ?? []
            guard let methods = mirror.descendant("value", "some", "methods"),
                let path = mirror.descendant("value", "some", "path") as? RouterPath
            else { continue }
            let address = path.description.split(separator: "/").map { part in
                part == "**" ? "{path}" : part.hasPrefix(":") ? "{\(part.dropFirst())}" : String(part)
            }
            for method in Mirror(reflecting: methods).children {
                let name = try #require(Mirror(reflecting: method.value).children.first?.value as? HTTPRequest.Method)
                found.insert("\(name) /\(address.joined(separator: "/"))")
            }
        }
        return found
    }

    private func document(_ hub: TestHub) async throws -> JSONValue {
        let box = Box()
        try await hub.api { api in await box.put(try await api.send(.get, OpenAPIRoute.path).json) }
        return try #require(await box.value)
    }

    private actor Box {
        var value: JSONValue?
        func put(_ value: JSONValue) { self.value = value }
    }
}
