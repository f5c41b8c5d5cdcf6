// The annotation of generated classes. The JDK has none since version 11, and a library for it is not needed here.

package javax.annotation;

public @interface Generated {
  String value();

  String date();

  String comments();
}
