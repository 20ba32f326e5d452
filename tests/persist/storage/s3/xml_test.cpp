#include "iqdb/persist/storage/s3/xml.hpp"

#include <cstddef>
#include <random>
#include <string>
#include <string_view>

#include "support/catch.hpp"

namespace of_s3_xml {

using iqdb::s3::read_xml;

TEST_CASE("read_xml: reads a listing as S3 writes it", "[s3_xml]") {
  const auto root = read_xml(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
      "<Name>b</Name><Prefix/><IsTruncated>false</IsTruncated>\n  <Contents><Key>a%20b</Key></Contents>"
      "<Contents a='1' b=\"2>\" ><Key>c</Key></Contents></ListBucketResult>\n");
  REQUIRE(root);
  CHECK(root->name == "ListBucketResult");
  CHECK(root->text_of("Name") == "b");
  CHECK(root->text_of("Prefix") == "");
  CHECK_FALSE(root->text_of("Key"));
  REQUIRE(root->children.size() == 5);
  CHECK(root->children[3].text_of("Key") == "a%20b");
  CHECK(root->children[4].text_of("Key") == "c");
}

TEST_CASE("read_xml: decodes the five entities and numbers of characters", "[s3_xml]") {
  const auto root = read_xml("<a>&lt;&gt;&amp;&quot;&apos;&#65;&#x42;&#xe4;&#x20AC;&#x1F600;</a>");
  REQUIRE(root);
  CHECK(root->text == "<>&\"'AB\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80");
}

TEST_CASE("read_xml: refuses everything that S3 does not write", "[s3_xml]") {
  for (const char* text : {"",
                           "text",
                           "<",
                           "<a",
                           "<a>",
                           "<a></b>",
                           "<a></a><b/>",
                           "<a></a>text",
                           "</a>",
                           "<a b></a>",
                           "<a b=c></a>",
                           "<a b='></a>",
                           "<a b='<'></a>",
                           "<a><b></a></b>",
                           "<a>&nbsp;</a>",
                           "<a>&lt</a>",
                           "<a>&#0;</a>",
                           "<a>&#xD800;</a>",
                           "<a>&#x110000;</a>",
                           "<a>&#;</a>",
                           "<a>&#x;</a>",
                           "<a>&#-1;</a>",
                           "<a>&#1x;</a>",
                           "<a>\x01</a>",
                           "<!DOCTYPE html><html></html>",
                           "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
                           "<a><!-- b --></a>",
                           "<a><![CDATA[b]]></a>",
                           "<a><?b c?></a>",
                           "<?xml",
                           "< a></a>",
                           "<html><br></html>"}) {
    INFO(text);
    CHECK_FALSE(read_xml(text));
  }
}

TEST_CASE("read_xml: bounds the depth and the number of elements", "[s3_xml]") {
  const auto nested = [](std::size_t depth) {
    std::string text;
    for (std::size_t at = 0; at < depth; ++at) {
      text = "<a>" + text + "</a>";
    }
    return text;
  };
  CHECK(read_xml(nested(16)));
  CHECK_FALSE(read_xml(nested(17)));
  std::string deep;
  for (int at = 0; at < 1000000; ++at) {
    deep += "<a>";
  }
  CHECK_FALSE(read_xml(deep));
  std::string many = "<a>";
  for (int at = 0; at < 50001; ++at) {
    many += "<b/>";
  }
  CHECK_FALSE(read_xml(many + "</a>"));
}

TEST_CASE("read_xml: survives any bytes in place of a part of a document", "[s3_xml]") {
  const std::string document = "<?xml version=\"1.0\"?><E x=\"y\"><Code>A&amp;B&#x41;</Code><C><D/></C></E>";
  const unsigned seed = std::random_device()();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  constexpr std::string_view pieces = "<>/&;#x\"'= aE\0\xFF!?-[";
  for (int round = 0; round < 20000; ++round) {
    std::string changed = document;
    for (unsigned count = 1 + random() % 4; count > 0; --count) {
      changed[random() % changed.size()] = pieces[random() % pieces.size()];
    }
    changed.resize(changed.size() - random() % 8);
    static_cast<void>(read_xml(changed));
  }
  SUCCEED();
}

}  // namespace of_s3_xml
