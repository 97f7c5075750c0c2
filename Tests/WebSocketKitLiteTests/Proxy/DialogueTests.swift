import TestSupport
import Testing

@testable import WebSocketKitLite

/// Everything a dialogue has to say to bytes that arrive in `pieces`; what it does not take is in `rest`.
private func run(
    _ dialogue: some ProxyDialogue,
    _ pieces: [ArraySlice<UInt8>]
) -> (sent: [[UInt8]], rest: [UInt8], isEstablished: Bool, failure: ProxyFailure?) {
    var dialogue = dialogue
    var sent: [[UInt8]] = []
    var rest: [UInt8] = []
    var isEstablished = false
    for piece in pieces {
        var input = piece
        do throws(ProxyFailure) {
            reading: while !isEstablished {
                switch try dialogue.receive(&input) {
                case .needsMore: break reading
                case .send(let bytes): sent.append(bytes)
                case .established: isEstablished = true
                }
            }
        } catch {
            return (sent, rest, false, error)
        }
        rest += input
    }
    return (sent, rest, isEstablished, nil)
}

private let login = Proxy.Credentials(user: Array("ada".utf8), password: Array("secret".utf8))

@Suite("CONNECT")
struct ConnectDialogueTests {
    @Test("asks for host and port, and logs in where it can")
    func request() {
        let plain = ConnectDialogue(host: "hub.example", port: 443, credentials: nil)
        #expect(
            String(decoding: plain.opening, as: UTF8.self)
                == "CONNECT hub.example:443 HTTP/1.1\r\nHost: hub.example:443\r\n\r\n"
        )
        let withLogin = ConnectDialogue(host: "fd00::1", port: 8443, credentials: login)
        #expect(
            String(decoding: withLogin.opening, as: UTF8.self)
                == "CONNECT [fd00::1]:8443 HTTP/1.1\r\nHost: [fd00::1]:8443\r\n"
                + "Proxy-Authorization: Basic YWRhOnNlY3JldA==\r\n\r\n"
        )
    }

    @Test(
        "takes its answer however it is cut, and not a byte more",
        arguments: [
            "HTTP/1.0 200 Connection established\r\n\r\n",
            "HTTP/1.1 200\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 Fine\r\nVia: a\r\n\r\n",
        ]
    )
    func established(answer: String) {
        let bytes = Array((answer + "rest").utf8)
        for pieces in splits(of: bytes) {
            let result = run(ConnectDialogue(host: "h", port: 1, credentials: nil), pieces)
            #expect(result.isEstablished)
            #expect(result.rest == Array("rest".utf8))
        }
    }

    @Test(
        "tells refusals apart",
        arguments: [
            ("407 Login\r\nProxy-Authenticate: Basic realm=\"x\"", nil, .authenticationRequired(schemes: ["Basic"])),
            ("407 Login\r\nProxy-Authenticate: Negotiate", nil, .authenticationRequired(schemes: ["Negotiate"])),
            ("407 Login", login, .authenticationRejected), ("401 Unauthorized", login, .authenticationRejected),
            ("403 No", nil, .refused("it answered 403 No")),
            ("503 Down", nil, .targetUnreachable("it answered 503 Down")),
            ("405 What", nil, .unsupported("it answered 405 What to CONNECT")),
            ("301 There", nil, .refused("it answered 301 There")),
        ] as [(String, Proxy.Credentials?, ProxyFailure)]
    )
    func refusals(status: String, credentials: Proxy.Credentials?, failure: ProxyFailure) {
        for pieces in splits(of: Array("HTTP/1.1 \(status)\r\n\r\n".utf8)) {
            #expect(run(ConnectDialogue(host: "h", port: 1, credentials: credentials), pieces).failure == failure)
        }
    }

    @Test("gives up on what is no HTTP, on endless heads and on endless interim answers")
    func hostile() {
        let inputs = [
            "SSH-2.0-OpenSSH_9\r\n", "HTTP/2 200\r\n", "HTTP/1.1 200 OK\n\n", "HTTP/1.1 999 X\r\n",
            "HTTP/1.1 200 OK\r\nbad line\r\n\r\n", String(repeating: "x", count: 20_000),
            "HTTP/1.1 200 OK\r\n" + String(repeating: "a: b\r\n", count: 200),
            String(repeating: "HTTP/1.1 100 Continue\r\n\r\n", count: 10),
        ]
        for input in inputs {
            let result = run(ConnectDialogue(host: "h", port: 1, credentials: nil), [Array(input.utf8)[...]])
            guard case .malformed = result.failure else {
                Issue.record("\(input.prefix(40)): \(String(describing: result.failure))")
                continue
            }
        }
    }
}

@Suite("SOCKS 5")
struct SOCKS5DialogueTests {
    private let byName: [UInt8] = [5, 1, 0, 3, 11] + Array("hub.example".utf8) + [0x20, 0xFB]
    private let success: [UInt8] = [5, 0, 0, 1, 127, 0, 0, 1, 0, 80]

    private func dialogue(_ host: String = "hub.example", _ credentials: Proxy.Credentials? = nil) -> SOCKS5Dialogue {
        SOCKS5Dialogue(host: host, port: 8443, credentials: credentials)
    }

    @Test("offers a login only where there is one")
    func opening() {
        #expect(dialogue().opening == [5, 1, 0])
        #expect(dialogue("h", login).opening == [5, 2, 0, 2])
    }

    @Test(
        "asks for names as names and for addresses as addresses, with every kind of answer, however it is cut",
        arguments: [
            ("hub.example", [5, 1, 0, 3, 11] + Array("hub.example".utf8) + [0x20, 0xFB]),
            ("192.0.2.7", [5, 1, 0, 1, 192, 0, 2, 7, 0x20, 0xFB]),
            ("fd00::1", [5, 1, 0, 4, 0xFD, 0] + [UInt8](repeating: 0, count: 13) + [1, 0x20, 0xFB]),
        ],
        [
            [5, 0, 0, 1, 127, 0, 0, 1, 0, 80], [5, 0, 0, 4] + [UInt8](repeating: 7, count: 18),
            [5, 0, 0, 3, 3, 97, 98, 99, 0, 80], [5, 0, 0, 3, 0, 0, 80],
        ] as [[UInt8]]
    )
    func established(request: (host: String, bytes: [UInt8]), reply: [UInt8]) {
        for pieces in splits(of: [5, 0] + reply + [0xAA, 0xBB]) {
            let result = run(dialogue(request.host), pieces)
            #expect(result.sent == [request.bytes])
            #expect(result.isEstablished)
            #expect(result.rest == [0xAA, 0xBB])
        }
    }

    @Test("logs in with user and password where the proxy wants it, and not where it does not")
    func loggingIn() {
        let credentials: [UInt8] = [1, 3] + Array("ada".utf8) + [6] + Array("secret".utf8)
        for version: UInt8 in [1, 5] {
            for pieces in splits(of: [5, 2] + [version, 0] + success) {
                let result = run(dialogue("hub.example", login), pieces)
                #expect(result.sent == [credentials, byName])
                #expect(result.isEstablished)
            }
        }
        #expect(run(dialogue("hub.example", login), [([5, 0] + success)[...]]).sent == [byName])
    }

    @Test(
        "tells refusals apart",
        arguments: [
            ([5, 0xFF], nil, .authenticationRequired(schemes: [])),
            ([5, 0xFF], login, .unsupported("it takes neither a user name with password nor anybody without")),
            ([5, 2, 1, 1], login, .authenticationRejected),
            ([5, 0, 5, 2], nil, .refused("its rules do not allow this connection")),
            ([5, 0, 5, 1], nil, .targetUnreachable("it reports a general failure")),
            ([5, 0, 5, 3], nil, .targetUnreachable("it has no route to that network")),
            ([5, 0, 5, 4], nil, .targetUnreachable("it cannot reach that host")),
            ([5, 0, 5, 5], nil, .targetUnreachable("that host refuses the connection")),
            ([5, 0, 5, 6], nil, .targetUnreachable("the connection timed out on the way")),
            ([5, 0, 5, 7], nil, .unsupported("it cannot make outgoing connections")),
            ([5, 0, 5, 8], nil, .unsupported("it cannot use this kind of address")),
            ([5, 0, 5, 99], nil, .malformed("it answers with the unknown code 99")),
            ([5, 2], nil, .malformed("it chose a way to log in that was not offered")),
            ([5, 1], login, .malformed("it chose a way to log in that was not offered")),
            ([4, 0], nil, .malformed("it does not answer as SOCKS 5")),
            ([0x48, 0x54], nil, .malformed("it does not answer as SOCKS 5")),
            ([5, 0, 4, 0], nil, .malformed("it does not answer as SOCKS 5")),
            ([5, 0, 5, 0, 0, 9, 0], nil, .malformed("its answer has an address of the unknown type 9")),
        ] as [([UInt8], Proxy.Credentials?, ProxyFailure)]
    )
    func refusals(bytes: [UInt8], credentials: Proxy.Credentials?, failure: ProxyFailure) {
        for pieces in splits(of: bytes) {
            #expect(run(dialogue("hub.example", credentials), pieces).failure == failure)
        }
    }

    @Test("survives any bytes, and holds at most one message of them")
    func anyBytes() {
        var random = SeededRandom(seed: 1928)
        for _ in 0..<2000 {
            var bytes = (0..<Int.random(in: 0...300, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            // Most inputs would end at the first byte otherwise.
            for (index, value) in [UInt8(5), 0, 5, 0, 0, 3].enumerated()
            where index < bytes.count && Bool.random(using: &random) {
                bytes[index] = value
            }
            let whole = run(dialogue(), [bytes[...]])
            let dripped = run(dialogue(), bytes.indices.map { bytes[$0...$0] })
            #expect(whole.failure == dripped.failure)
            #expect(whole.isEstablished == dripped.isEstablished)
            #expect(whole.rest == dripped.rest)
        }
    }
}
