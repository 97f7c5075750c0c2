import Testing
import WireFormat

@Suite struct CloseCodeVectorTests {
    struct CloseVectors: Decodable {
        struct Vector: Decodable {
            let name: String
            let code: UInt16
            let reconnect: String
            let reason: String
            let credential: String?
            let close_frame_payload: String
        }

        let vectors: [Vector]
    }

    @Test func everyCodeMeansWhatTheVectorsSay() throws {
        let vectors = try Vectors.load("close-codes.json", as: CloseVectors.self).vectors
        #expect(vectors.count == 11)
        for vector in vectors {
            let code = SessionCloseCode(rawValue: vector.code)
            let expected: SessionCloseCode.Reconnect =
                switch vector.reconnect {
                case "slowly": .slowly
                case "after pairing": .afterPairing
                default: .backOff
                }
            #expect(code.reconnect == expected, "\(vector.code)")
            #expect(code.isRetryable == (expected != .afterPairing))
            #expect(
                CredentialProblem(closeCode: code, reason: vector.reason)?.rawValue == vector.credential,
                "\(vector.code)"
            )
            let payload = [UInt8(vector.code >> 8), UInt8(vector.code & 0xFF)] + Array(vector.reason.utf8)
            #expect(payload.hex == vector.close_frame_payload)
            #expect(payload.count <= 125)
        }
    }

    @Test func aReasonThatIsTooLongIsCutBetweenCharacters() {
        for character in ["x", "ö", "…", "🙂"] {
            var machine = HubSessionMachine()
            machine.close(.replaced, reason: String(repeating: character, count: 200))
            guard case .close(_, let reason)? = machine.nextAction() else {
                Issue.record("not closed")
                return
            }
            let width = character.utf8.count
            #expect(reason == String(repeating: character, count: 123 / width))
        }
    }
}
