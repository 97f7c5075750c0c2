import Foundation
import SwiftASN1
import Testing
import X509

@testable import ControlHub

@Suite("The hub's own certificate")
struct TLSMaterialTests {
    private func directory() throws -> DataDirectory {
        try DataDirectory(
            path: FileManager.default.temporaryDirectory.path + "/hub-test-\(UInt64.random(in: 0 ... .max))"
        )
    }

    private func leaf(_ material: TLSMaterial) throws -> Certificate {
        let text = try String(contentsOfFile: material.certificateFile, encoding: .utf8)
        return try Certificate(pemDocument: try #require(try PEMDocument.parseMultiple(pemString: text).first))
    }

    @Test("is made with an authority, names localhost and what was asked for, and its keys are private")
    func make() throws {
        let directory = try directory()
        defer { try? FileManager.default.removeItem(atPath: directory.path) }
        let material = try TLSMaterial.prepare(in: directory, names: ["Hub.example", "192.0.2.7"], at: Date())
        let certificate = try leaf(material)
        let names = try #require(try certificate.extensions.subjectAlternativeNames).map(\.description)
        for name in ["localhost", "hub.example"] { #expect(names.contains { $0.contains(name) }, "\(names)") }
        #expect(names.count == 5)
        #expect(certificate.notValidAfter.timeIntervalSinceNow < 398 * 86_400)
        for name in ["ca-key.pem", "server-key.pem"] {
            let mode = try FileManager.default.attributesOfItem(atPath: directory.file("tls/" + name))[
                .posixPermissions
            ]
            #expect(mode as? Int == 0o600)
        }
        #expect(material.pin.count == 64)
    }

    @Test("is kept while it is good, renewed when names change or the end is near, and keeps key and pin")
    func renewal() throws {
        let directory = try directory()
        defer { try? FileManager.default.removeItem(atPath: directory.path) }
        let now = Date()
        let first = try TLSMaterial.prepare(in: directory, names: ["a"], at: now)
        let serial = try leaf(first).serialNumber
        _ = try TLSMaterial.prepare(in: directory, names: ["a"], at: now.addingTimeInterval(366 * 86_400))
        #expect(try leaf(first).serialNumber == serial)
        let renewed = try TLSMaterial.prepare(in: directory, names: ["a"], at: now.addingTimeInterval(368 * 86_400))
        #expect(try leaf(renewed).serialNumber != serial)
        #expect(renewed.pin == first.pin)
        let renewedSerial = try leaf(renewed).serialNumber
        let renamed = try TLSMaterial.prepare(in: directory, names: ["b"], at: now.addingTimeInterval(368 * 86_400))
        #expect(try leaf(renamed).serialNumber != renewedSerial)
    }

    @Test("of the operator must be readable and fit its key")
    func given() throws {
        let directory = try directory()
        defer { try? FileManager.default.removeItem(atPath: directory.path) }
        let material = try TLSMaterial.prepare(in: directory, names: [], at: Date())
        #expect(try TLSMaterial.given(certificate: material.certificateFile, key: material.keyFile).pin == material.pin)
        let wrongKey = #expect(throws: StartFailure.self) {
            try TLSMaterial.given(certificate: material.certificateFile, key: directory.file("tls/ca-key.pem"))
        }
        #expect(wrongKey?.message.contains("does not belong") == true)
        let missing = #expect(throws: StartFailure.self) {
            try TLSMaterial.given(certificate: "/nowhere/cert.pem", key: material.keyFile)
        }
        #expect(missing?.code == .dataError && missing?.message.contains("/nowhere/cert.pem") == true)
    }

    @Test("the pin is the one OpenSSL and agents work out: of the whole SubjectPublicKeyInfo")
    func pin() throws {
        let key = try Certificate.PublicKey(
            pemEncoded: """
                -----BEGIN PUBLIC KEY-----
                MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEZy+yL++r2ITQUhIXIgGj/kstaOfC
                E01uEMJe3fdQPwoIK1987xTPEvAmSROSiJZSnU0tkTpWkaQrOGNKWRO10A==
                -----END PUBLIC KEY-----
                """
        )
        // openssl pkey -pubin -outform der | sha256sum
        #expect(
            try TLSMaterial.pin(of: key) == "7fb70f4afb243efbbe592624cc6c05fe5690f241f3188634199dc025e3935c5a"
        )
    }
}
