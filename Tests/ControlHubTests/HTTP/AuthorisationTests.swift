import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import TestSupport
import Testing

@testable import ControlHub

@Suite("Authorisation")
struct AuthorisationTests {
    /// A call's address with something in the place of each parameter.
    static func address(of route: APIRoute) -> String {
        "/" + route.segments.map { $0.parameter == nil ? $0.text : "x" }.joined(separator: "/")
    }

    @Test("lets each role do what it may and nothing else, and nobody without a credential that is good")
    func matrix() async throws {
        let hub = try TestHub()
        let tokens = try await [
            Role.viewer: hub.token(.viewer), .operator: hub.token(.operator), .admin: hub.token(.admin),
        ]
        let revoked = try await hub.parts.operators.add(name: "gone", role: .admin, by: .hub)
        try await hub.parts.operators.delete(revoked.operator.id, by: .hub)
        let past = try await hub.parts.operators.add(name: "past", role: .admin, lifetime: 1, by: .hub)
        hub.clock.advance(by: .seconds(2))
        let strangers = ["op_wrong", try #require(revoked.token), try #require(past.token)]
        let routes = HubRouter.routes(hub.services)
        #expect(routes.count > 30)
        try await hub.api { api in
            for route in routes where route.access != .anyone && route.path != "/api/events" {
                guard case .role(let least) = route.access else { continue }
                // So many wrong credentials at once would be refused for their number.
                hub.clock.advance(by: .seconds(10))
                let path = Self.address(of: route)
                let nobody = try await api.send(route.method, path)
                #expect(nobody.status == 401 && nobody.code == "unauthenticated", "\(route.method) \(path)")
                for stranger in strangers {
                    let answer = try await api.send(route.method, path, token: stranger)
                    #expect(answer.status == 401, "\(route.method) \(path)")
                }
                for (role, token) in tokens {
                    let status = try await api.status(route.method, path, token: token)
                    if role >= least {
                        #expect(status != 401 && status != 403 && status < 500, "\(role) \(route.method) \(path)")
                    } else {
                        #expect(status == 403, "\(role) \(route.method) \(path)")
                    }
                }
            }
        }
    }

    @Test("a viewer changes nothing: the only thing it may do but read is to sign out")
    func viewersOnlyRead() throws {
        let hub = try TestHub()
        let changing = HubRouter.routes(hub.services).filter { $0.access == .viewer && $0.method != .get }
        #expect(changing.map { "\($0.method) \($0.path)" } == ["DELETE /api/session"])
    }

    @Test("an operator can neither make operators nor change or read them")
    func operatorsAreForAdmins() throws {
        let hub = try TestHub()
        let routes = HubRouter.routes(hub.services).filter { $0.path.hasPrefix("/api/operators") }
        #expect(routes.count >= 9 && routes.allSatisfy { $0.access == .admin })
    }

    @Test("manages operators: adds, lists, promotes and removes them, but never the last administrator")
    func operators() async throws {
        let hub = try TestHub()
        let admin = try await hub.token(.admin)
        try await hub.api { api in
            let added = try await api.send(
                .post,
                "/api/operators",
                token: admin,
                body: #"{"name":"bea","role":"operator","ttl_seconds":60}"#
            )
            #expect(added.status == 201)
            let token = try #require(added["token"]?.stringValue)
            let id = try #require(added["id"]?.stringValue)
            #expect(added["login_link"]?.stringValue?.hasPrefix("https://hub.example/login#login_") == true)
            let taken = try await api.send(
                .post,
                "/api/operators",
                token: admin,
                body: #"{"name":"bea","role":"viewer"}"#
            )
            #expect(taken.status == 409 && taken.code == "name_taken")
            let odd = try await api.send(.post, "/api/operators", token: admin, body: #"{"name":"c","role":"god"}"#)
            #expect(odd.status == 422)
            #expect(try await api.send(.get, "/api/audit", token: token).status == 403)
            let promoted = try await api.send(
                .patch,
                "/api/operators/\(id)",
                token: admin,
                body: #"{"role":"admin"}"#
            )
            #expect(promoted.status == 200 && promoted["role"] == .string("admin"))
            #expect(try await api.send(.get, "/api/audit", token: token).status == 200, "counts at once")
            hub.clock.advance(by: .seconds(61))
            #expect(try await api.send(.get, "/api/version", token: token).status == 401, "its time is over")
            let list = try await api.send(.get, "/api/operators", token: admin)
            #expect(list.items.count == 2)
            #expect(!"\(list.json)".contains("op_") || !"\(list.json)".contains(token))
            #expect(try await api.send(.delete, "/api/operators/\(id)", token: admin).status == 204)
            let own = try #require(list.items.first { $0["name"] != .string("bea") }?["id"]?.stringValue)
            for answer in [
                try await api.send(.delete, "/api/operators/\(own)", token: admin),
                try await api.send(.patch, "/api/operators/\(own)", token: admin, body: #"{"role":"viewer"}"#),
            ] {
                #expect(answer.status == 409 && answer.code == "last_administrator")
            }
        }
    }

    @Test("makes, lists and revokes tokens; one that was asked for with a token does not outlive it")
    func tokens() async throws {
        let hub = try TestHub()
        let bea = try await hub.parts.operators.add(name: "bea", role: .operator, lifetime: 100, by: .hub)
        let carl = try await hub.token(.operator)
        let first = try #require(bea.token)
        try await hub.api { api in
            let made = try await api.send(.post, "/api/tokens", token: first, body: #"{"name":"ci"}"#)
            #expect(made.status == 201)
            let second = try #require(made["token"]?.stringValue)
            let id = try #require(made["id"]?.stringValue)
            #expect(made["expires_at"] == .string(hub.now.addingTimeInterval(100).rfc3339))
            let session = try await api.send(.post, "/api/session", body: #"{"token":"\#(second)"}"#)
            let cookie = ["Cookie": String(try #require(session.headers[.setCookie]).prefix { $0 != ";" })]
            #expect(try await api.send(.get, "/api/session", headers: cookie).status == 200)
            let list = try await api.send(.get, "/api/tokens", token: second)
            #expect(Set(list.items.compactMap { $0["name"]?.stringValue }) == ["first token", "ci"])
            #expect(list.items.allSatisfy { $0["token"] == nil })
            #expect(list.items.allSatisfy { $0["last_used_at"] != nil })
            #expect(try await api.send(.delete, "/api/tokens/\(id)", token: carl).status == 404, "another's")
            #expect(try await api.send(.delete, "/api/tokens/\(id)", token: first).status == 204)
            #expect(try await api.send(.get, "/api/tokens", token: second).status == 401)
            #expect(try await api.send(.get, "/api/session", headers: cookie).status == 401, "opened with it")
        }
    }

    @Test("a sign-in makes a new session whatever the browser brought, and ends the one it had")
    func sessionFixation() async throws {
        let hub = try TestHub()
        let token = try await hub.token(.operator)
        try await hub.api { api in
            let body = #"{"token":"\#(token)"}"#
            let planted = ["Cookie": "hub_session=sess_planted-by-somebody-else"]
            let first = try await api.send(.post, "/api/session", body: body, headers: planted)
            let cookie = String(try #require(first.headers[.setCookie]).prefix { $0 != ";" })
            #expect(cookie != planted["Cookie"])
            #expect(try await api.send(.get, "/api/session", headers: planted).status == 401)
            let second = try await api.send(.post, "/api/session", body: body, headers: ["Cookie": cookie])
            #expect(second.headers[.setCookie]?.hasPrefix(cookie) == false)
            #expect(try await api.send(.get, "/api/session", headers: ["Cookie": cookie]).status == 401)
        }
    }

    @Test("limits sign-ins of one address, and what one operator asks for")
    func rates() async throws {
        let hub = try TestHub()
        let token = try await hub.token(.viewer)
        try await hub.api { api in
            var last = try await api.send(.post, "/api/session", body: #"{"token":"wrong"}"#)
            #expect(last.status == 401)
            for _ in 0..<FailureLimiter.Kind.signIn.bounds.perAddress.capacity {
                last = try await api.send(.post, "/api/session", body: #"{"token":"wrong"}"#)
            }
            #expect(last.status == 429 && last.headers[.retryAfter] != nil)
            let good = try await api.send(.post, "/api/session", body: #"{"token":"\#(token)"}"#)
            #expect(good.status == 201, "a good token passes all the same")
            for _ in 0..<AccessLimiter.requests.capacity {
                _ = try await api.send(.get, "/api/version", token: token)
            }
            let tooMany = try await api.send(.get, "/api/version", token: token)
            #expect(tooMany.status == 429 && tooMany.code == "rate_limited")
            hub.clock.advance(by: .seconds(1))
            #expect(try await api.send(.get, "/api/version", token: token).status == 200)
        }
    }
}

extension APIClient {
    /// The status alone, for answers that are not JSON.
    func status(_ method: HTTPRequest.Method, _ path: String, token: String?) async throws -> Int {
        var fields: HTTPFields = [.contentType: "application/json"]
        if let token { fields[.authorization] = "Bearer \(token)" }
        return try await client.execute(uri: path, method: method, headers: fields) { $0.status.code }
    }
}
